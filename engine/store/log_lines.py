"""Log of a task by lines: pages, search, tail. The gap note is a line of its own.

Lines keep the numbers under which they were written: a log gap leaves numbers out, and the gap note has the last of
these. Pages and totals count the lines that can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
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


def page(  # noqa: PLR0913 - a page, and what selects its lines
    c: sa.Connection,
    task_id: str,
    number: int,
    size: int,
    q: str = "",
    part: Selection = EVERYTHING,
    between: Callable[[], object] = lambda: None,
) -> tuple[list[Line], int]:
    """Return the number-th page (from 1) of the lines, oldest first, and the number of all lines.

    With `q`, only lines that contain it count, ignoring case. With `q` or `part`, the whole log is read, chunk by
    chunk, and `between` is called after each: this may take seconds.
    """
    first = (number - 1) * size
    if not q and part == EVERYTHING:
        length, gap = _extent(c, task_id)
        return list(_range(c, task_id, gap, first, size)), length
    needle, total = q.casefold(), 0
    lines: list[Line] = []
    for chunk in filter(part.has, _chunks(c, task_id)):
        # Of millions of lines, only those of the page become objects.
        hits = [at for at, (_, _, text) in enumerate(chunk.frames) if needle in text.casefold()]
        wanted = hits[max(0, first - total) : max(0, first + size - total)]
        lines += [_line(chunk, at) for at in wanted]
        total += len(hits)
        between()
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


def _line(chunk: Chunk, at: int) -> Line:
    number = chunk.first_line + 1 + at
    return Line(number, chunk.created_at, chunk.attempt, chunk.origin, chunk.link, chunk.frames[at])


def _lines(chunk: Chunk) -> Iterator[Line]:
    return (_line(chunk, at) for at in range(len(chunk.frames)))


def _chunks(c: sa.Connection, task_id: str, after_seq: int = -1) -> Iterator[Chunk]:
    for limit in _limits():
        batch = chunks(c, task_id, after_seq, limit)
        if not batch:
            return
        yield from batch
        after_seq = batch[-1].seq


def _limits() -> Iterator[int]:
    """Yield the numbers of chunks to read at once: few at first, because the first may have all that is needed."""
    limit = 1
    while True:
        yield limit
        limit = min(2 * limit, BATCH)


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
    later_chunks = _chunks(c, task_id, max(-1, seq_of(c, task_id, number) - 1))
    lines = itertools.chain.from_iterable(map(_lines, later_chunks))
    return itertools.islice(itertools.dropwhile(lambda line: line.number <= number, lines), size)


def _backwards(c: sa.Connection, task_id: str) -> Iterator[Line]:
    before, later = (1 << 31) - 1, None
    for limit in _limits():
        rows = c.execute(
            sa.select(log_chunks)
            .where(log_chunks.c.task_id == task_id, log_chunks.c.seq < before)
            .order_by(log_chunks.c.seq.desc())
            .limit(limit)
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
