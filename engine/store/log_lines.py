"""Log of a task by lines: pages, search, tail. The gap note is a line of its own.

Lines keep the numbers under which they were written: a log gap leaves numbers out, and the gap note has the last of
these. Pages and totals count the lines that can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from engine.model.log_gap import is_gap
from engine.store.logs import BATCH, Chunk, Frame, as_chunk, chunks, head, note_before, seq_of
from engine.store.tables import log_chunks, log_heads

#: Bound of the text in a tail, because one line may be as long as the whole log.
MOST_TAIL_CHARACTERS = 4 << 20


@dataclass(frozen=True)
class Line:
    """A frame with its place in the task's log."""

    #: Counted from 1, over all lines that were written.
    number: int
    created_at: int
    attempt: int
    origin: int
    link: int
    frame: Frame


@dataclass(frozen=True)
class Selection:
    """Part of a task's log: the output of one attempt, of one link, or of one link in one attempt."""

    attempt: int | None = None
    #: Index of the link in the chain.
    link: int | None = None

    def has(self, of: Line | Chunk) -> bool:
        """Return whether the line or chunk belongs to the part."""
        return self.attempt in (None, of.attempt) and self.link in (None, of.link)


EVERYTHING = Selection()


def page(
    c: sa.Connection, task_id: str, number: int, size: int, q: str = "", part: Selection = EVERYTHING
) -> tuple[list[Line], int]:
    """Return the number-th page (from 1) of the lines, oldest first, and the number of all lines.

    With `q`, only lines that contain it count, ignoring case. With `q` or `part`, the whole log is read, chunk by
    chunk.
    """
    first = (number - 1) * size
    if not q and part == EVERYTHING:
        length, gap = _extent(c, task_id)
        return list(_range(c, task_id, gap, first, size)), length
    needle, lines, total = q.casefold(), [], 0
    for line in _all(c, task_id):
        if part.has(line) and needle in line.frame[2].casefold():
            if first <= total < first + size:
                lines.append(line)
            total += 1
    return lines, total


def last(c: sa.Connection, task_id: str, n: int) -> list[Line]:
    """Return the last `n` frames, oldest first, Ferryman's own notes included."""
    length, gap = _extent(c, task_id)
    return list(_range(c, task_id, gap, max(0, length - n), n))


def tail(c: sa.Connection, task_id: str, n: int, part: Selection = EVERYTHING) -> list[Line]:
    """Return the last `n` lines of the containers' output, oldest first, long lines with all their pieces.

    A gap note among them is not counted. Fewer lines when they hold more than MOST_TAIL_CHARACTERS.
    """
    kept: list[Line] = []
    seen: set[tuple[int, int, int, int]] = set()
    ends = length = 0
    for line in filter(part.has, _backwards(c, task_id)):
        stream, _, text = line.frame
        if is_gap(stream, text):
            kept.append(line)
            # A line before the gap ends there, complete or not.
            seen.clear()
        if stream == 0:
            continue
        key = (line.attempt, line.origin, line.link, stream)
        # The last frame of a stream ends a line, with or without a line feed.
        if text.endswith("\n") or key not in seen:
            seen.add(key)
            ends += 1
            if ends > n:
                break
        length += len(text)
        if length > MOST_TAIL_CHARACTERS:
            break
        kept.append(line)
    if ends >= n and kept and is_gap(kept[-1].frame[0], kept[-1].frame[2]):
        # No requested line is missing before the first one.
        kept.pop()
    return kept[::-1]


def _lines(chunk: Chunk) -> Iterator[Line]:
    for number, frame in enumerate(chunk.frames, chunk.first_line + 1):
        yield Line(number, chunk.created_at, chunk.attempt, chunk.origin, chunk.link, frame)


def _all(c: sa.Connection, task_id: str, after_seq: int = -1) -> Iterator[Line]:
    while batch := chunks(c, task_id, after_seq):
        for chunk in batch:
            yield from _lines(chunk)
        after_seq = batch[-1].seq


def _extent(c: sa.Connection, task_id: str) -> tuple[int, tuple[int, int]]:
    """Return how many lines can be read, the gap note included, and the gap."""
    written, gap = head(c, task_id).lines, _gap(c, task_id)
    return written - gap[1], gap


def _gap(c: sa.Connection, task_id: str) -> tuple[int, int]:
    """Return the number of lines before the gap, and of the line numbers that are missing there."""
    of_task = log_chunks.c.task_id == task_id
    tail_seq = c.scalar(
        sa.select(log_heads.c.tail_seq).where(log_heads.c.task_id == task_id, log_heads.c.missing_bytes > 0)
    )
    if tail_seq is None:
        return 0, 0
    # Read from the chunks, not from the head: a writer may have widened the gap in between.
    begin = c.scalar(
        sa.select(sa.func.min(log_chunks.c.first_line)).where(of_task, log_chunks.c.seq >= tail_seq)
    )
    row = c.execute(
        sa.select(log_chunks)
        .where(of_task, log_chunks.c.seq < tail_seq)
        .order_by(log_chunks.c.seq.desc())
        .limit(1)
    ).one_or_none()
    before = row.first_line + len(as_chunk(row).frames) if row else 0
    return before, max(0, (begin or 0) - 1 - before)


def _range(c: sa.Connection, task_id: str, gap: tuple[int, int], first: int, size: int) -> Iterator[Line]:
    """Return `size` of the lines that can be read, after the first `first`."""
    before, missing = gap
    number = first if first < before else first + missing
    # -1: the log begins with the gap note.
    lines = _all(c, task_id, max(-1, seq_of(c, task_id, number) - 1))
    return itertools.islice(itertools.dropwhile(lambda line: line.number <= number, lines), size)


def _backwards(c: sa.Connection, task_id: str) -> Iterator[Line]:
    before, later = (1 << 31) - 1, None
    while True:
        rows = c.execute(
            sa.select(log_chunks)
            .where(log_chunks.c.task_id == task_id, log_chunks.c.seq < before)
            .order_by(log_chunks.c.seq.desc())
            .limit(BATCH)
        ).all()
        for chunk in map(as_chunk, rows):
            if later and chunk.seq != later.seq - 1:
                yield from _lines(note_before(c, task_id, later))
            yield from reversed(list(_lines(chunk)))
            later = chunk
        if not rows:
            break
        before = rows[-1].seq
    if later and later.seq:
        yield from _lines(note_before(c, task_id, later))
