"""The output of a task's links, in chunks of frames. Written under the token, read page by page.

A frame is what Docker gives: a line, or a piece of at most 16 KB of a longer one; `first_line` and line
numbers count frames. Text of any kind can be stored: JSON escapes what a database refuses (NUL, half pairs).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from engine.model.records import LogPosition, StreamPosition, Token
from engine.model.states import TaskState
from engine.store.database import now_ms
from engine.store.tables import links, log_chunks, log_heads, tasks

#: (stream, stamp, text): stream 1 is standard output, 2 standard error, 0 a line of ours.
Frame = tuple[int, str, str]
#: Text that a tail holds at most: a line may be as long as the whole log.
MOST_TAIL_CHARACTERS = 4 << 20
#: Chunks that are read at once; each is what one write of a worker held.
BATCH = 16

# Built once, as in engine.store.tasks.
_LINK = sa.and_(
    links.c.task_id == sa.bindparam("the_task"),
    links.c.attempt == sa.bindparam("the_attempt"),
    links.c.origin == sa.bindparam("the_origin"),
    links.c.link == sa.bindparam("the_link"),
)
_MOVE = links.update().where(_LINK)
_POSITION = sa.select(
    links.c.stdout_stamp, links.c.stdout_frames, links.c.stderr_stamp, links.c.stderr_frames
).where(_LINK)
_HOLDS = (
    sa.select(tasks.c.id)
    .where(
        tasks.c.id == sa.bindparam("the_task"),
        tasks.c.attempt == sa.bindparam("the_attempt"),
        tasks.c.delivery == sa.bindparam("the_delivery"),
        tasks.c.state == TaskState.RUNNING,
    )
    .with_for_update(read=True)
)
_TAKE = (
    log_heads.update()
    .where(log_heads.c.task_id == sa.bindparam("the_task"))
    .values(
        next_seq=log_heads.c.next_seq + 1,
        next_line=log_heads.c.next_line + sa.bindparam("the_lines"),
        bytes=log_heads.c.bytes + sa.bindparam("the_size"),
    )
    .returning(log_heads.c.next_seq, log_heads.c.next_line, log_heads.c.bytes, log_heads.c.cut_bytes)
)


@dataclass(frozen=True)
class Chunk:
    """What was written at once, of one link."""

    seq: int
    attempt: int
    origin: int
    link: int
    created_at: int
    #: Frames of this task before the chunk.
    first_line: int
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Line:
    """A frame with its place in the task's log."""

    #: Counted from 1.
    number: int
    created_at: int
    attempt: int
    origin: int
    link: int
    frame: Frame


@dataclass(frozen=True)
class Head:
    """How long a task's log is: frames and bytes kept, and bytes cut because it is too long."""

    lines: int = 0
    bytes: int = 0
    cut_bytes: int = 0


def append(  # noqa: PLR0913 - the token, the link, what it wrote, and how far: all of one write
    c: sa.Connection,
    token: Token,
    origin: int,
    link_index: int,
    frames: Sequence[Frame],
    position: LogPosition,
    limit_bytes: int,
) -> bool:
    """Add frames to the task's log and move the link's position, together.

    Returns False, having written nothing, when the task does not run under this token: a fenced writer
    writes nothing. Of what goes beyond `limit_bytes` of the task only the size is kept, and one frame says so.
    """
    if not _holds(c, token):
        return False
    if frames:
        _write(c, (token.task_id, token.attempt, origin, link_index), frames, limit_bytes)
    c.execute(
        _MOVE,
        {
            **_link(token.task_id, token.attempt, origin, link_index),
            "stdout_stamp": position.stdout.stamp,
            "stdout_frames": position.stdout.frames,
            "stderr_stamp": position.stderr.stamp,
            "stderr_frames": position.stderr.frames,
        },
    )
    return True


def position(c: sa.Connection, task_id: str, attempt: int, origin: int, index: int) -> LogPosition:
    """How far this link's log is stored; the beginning when the link is unknown."""
    row = c.execute(_POSITION, _link(task_id, attempt, origin, index)).one_or_none()
    if row is None:
        return LogPosition()
    return LogPosition(StreamPosition(row[0], row[1]), StreamPosition(row[2], row[3]))


def head(c: sa.Connection, task_id: str) -> Head:
    """The log's length; all zero for a task that wrote nothing yet."""
    row = c.execute(
        sa.select(log_heads.c.next_line, log_heads.c.bytes, log_heads.c.cut_bytes).where(
            log_heads.c.task_id == task_id
        )
    ).one_or_none()
    return Head(*row) if row else Head()


def chunks(c: sa.Connection, task_id: str, after_seq: int = -1, limit: int = BATCH) -> list[Chunk]:
    """At most `limit` chunks behind `after_seq` (-1: from the first), in order."""
    rows = c.execute(
        sa.select(log_chunks)
        .where(log_chunks.c.task_id == task_id, log_chunks.c.seq > after_seq)
        .order_by(log_chunks.c.seq)
        .limit(limit)
    )
    return [_chunk(row) for row in rows]


def page(c: sa.Connection, task_id: str, number: int, size: int, q: str = "") -> tuple[list[Line], int]:
    """The number-th page (from 1) of the lines, oldest first, and how many there are in all.

    With `q`, of the lines that hold it, whatever its case; that reads the whole log, chunk by chunk.
    """
    first = (number - 1) * size
    if not q:
        return list(_range(c, task_id, first, size)), head(c, task_id).lines
    wanted, found, total = q.casefold(), [], 0
    for line in _all(c, task_id):
        if wanted in line.frame[2].casefold():
            if first <= total < first + size:
                found.append(line)
            total += 1
    return found, total


def last(c: sa.Connection, task_id: str, n: int) -> list[Line]:
    """The last `n` frames, oldest first, notes of ours among them."""
    return list(_range(c, task_id, max(0, head(c, task_id).lines - n), n))


def tail(c: sa.Connection, task_id: str, n: int) -> list[Line]:
    """The last `n` lines of the containers' output, oldest first, long ones with all their pieces.

    Fewer when they hold more than MOST_TAIL_CHARACTERS.
    """
    kept: list[Line] = []
    seen: set[tuple[int, int, int, int]] = set()
    ends = length = 0
    for line in _backwards(c, task_id):
        stream, _, text = line.frame
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
    return kept[::-1]


def _holds(c: sa.Connection, token: Token) -> bool:
    """True when the task runs under this token, which then stays so until the end of the transaction."""
    values = {"the_task": token.task_id, "the_attempt": token.attempt, "the_delivery": token.delivery}
    return c.scalar(_HOLDS, values) is not None


def _write(c: sa.Connection, at: tuple[str, int, int, int], frames: Sequence[Frame], limit: int) -> None:
    sizes = [len(text.encode("utf-8", "surrogatepass")) for _, _, text in frames]
    seq, line, kept_bytes, cut_bytes = _take(c, at[0], len(frames), sum(sizes))
    if kept_bytes > limit:
        frames = _cut(c, at[0], frames, sizes, (kept_bytes, cut_bytes, limit))
    if frames:
        c.execute(
            log_chunks.insert().values(
                task_id=at[0],
                seq=seq,
                attempt=at[1],
                origin=at[2],
                link=at[3],
                created_at=now_ms(),
                first_line=line,
                frames=_dump(frames),
            )
        )


def _take(c: sa.Connection, task_id: str, lines: int, size: int) -> tuple[int, int, int, int]:
    """Count the frames in, as if all were kept. Returns seq and line of the first, and bytes with them."""
    taken = {"the_task": task_id, "the_lines": lines, "the_size": size}
    row = c.execute(_TAKE, taken).one_or_none()
    if row is None:
        insert = sqlite.insert if c.dialect.name == "sqlite" else postgresql.insert
        fresh = {"task_id": task_id, "next_seq": 0, "next_line": 0, "bytes": 0, "cut_bytes": 0}
        c.execute(insert(log_heads).values(fresh).on_conflict_do_nothing())
        row = c.execute(_TAKE, taken).one()
    return row.next_seq - 1, row.next_line - lines, row.bytes, row.cut_bytes


def _cut(
    c: sa.Connection,
    task_id: str,
    frames: Sequence[Frame],
    sizes: Sequence[int],
    counts: tuple[int, int, int],
) -> list[Frame]:
    """Keep the frames that fit, count the rest, and correct what `_take` counted in."""
    with_all, cut_before, limit = counts
    room = limit - (with_all - sum(sizes))
    if cut_before:
        room = 0
    fitting = sum(1 for total in itertools.accumulate(sizes) if total <= room)
    kept, lost = list(frames[:fitting]), sum(sizes[fitting:])
    if not cut_before:
        stamp = frames[fitting][1]
        kept.append(
            (0, stamp, f"The log is cut here: {limit} bytes are kept of a task's (FERRYMAN_LOG_BYTES)\n")
        )
    c.execute(
        log_heads.update()
        .where(log_heads.c.task_id == task_id)
        .values(
            next_seq=log_heads.c.next_seq - (0 if kept else 1),
            next_line=log_heads.c.next_line - len(frames) + len(kept),
            bytes=log_heads.c.bytes - lost,
            cut_bytes=log_heads.c.cut_bytes + lost,
        )
    )
    return kept


def _link(task_id: str, attempt: int, origin: int, index: int) -> dict[str, Any]:
    return {"the_task": task_id, "the_attempt": attempt, "the_origin": origin, "the_link": index}


def _dump(frames: Sequence[Frame]) -> str:
    text = json.dumps(frames, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: escaped it is plain ASCII, and comes back as it was.
        return json.dumps(frames, separators=(",", ":"))
    return text


def _chunk(row: sa.Row[Any]) -> Chunk:
    frames = tuple((stream, stamp, text) for stream, stamp, text in json.loads(row.frames))
    return Chunk(row.seq, row.attempt, row.origin, row.link, row.created_at, row.first_line, frames)


def _lines(chunk: Chunk) -> Iterator[Line]:
    for number, frame in enumerate(chunk.frames, chunk.first_line + 1):
        yield Line(number, chunk.created_at, chunk.attempt, chunk.origin, chunk.link, frame)


def _all(c: sa.Connection, task_id: str, after_seq: int = -1) -> Iterator[Line]:
    while batch := chunks(c, task_id, after_seq):
        for chunk in batch:
            yield from _lines(chunk)
        after_seq = batch[-1].seq


def _range(c: sa.Connection, task_id: str, first: int, size: int) -> Iterator[Line]:
    start = c.scalar(
        sa.select(sa.func.max(log_chunks.c.seq)).where(
            log_chunks.c.task_id == task_id, log_chunks.c.first_line <= first
        )
    )
    if start is not None:
        inside = itertools.dropwhile(lambda line: line.number <= first, _all(c, task_id, start - 1))
        yield from itertools.takewhile(lambda line: line.number <= first + size, inside)


def _backwards(c: sa.Connection, task_id: str) -> Iterator[Line]:
    before = (1 << 31) - 1
    while True:
        rows = c.execute(
            sa.select(log_chunks)
            .where(log_chunks.c.task_id == task_id, log_chunks.c.seq < before)
            .order_by(log_chunks.c.seq.desc())
            .limit(BATCH)
        ).all()
        if not rows:
            return
        for row in rows:
            yield from reversed(list(_lines(_chunk(row))))
        before = rows[-1].seq
