"""The output of a task's links, in chunks of frames, written under the token. `log_lines` reads it by lines.

Of a log beyond its bound the first half and the newest chunks stay. A gap in the chunks' numbers is the cut;
whoever reads over it finds a chunk with a note there.

A frame is what Docker gives: a line, or a piece of at most 16 KB of a longer one; `first_line` and line
numbers count frames. Text of any kind can be stored: JSON escapes what a database refuses (NUL, half pairs).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from engine.model.log_gap import gap_note
from engine.model.records import LogPosition, RunKey, StreamPosition, Token
from engine.model.states import TaskState
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import links, log_chunks, log_heads, tasks

#: (stream, stamp, text): stream 1 is standard output, 2 standard error, 0 a line of ours.
Frame = tuple[int, str, str]
#: Chunks that are read at once; each is what one write of a worker held.
BATCH = 16
#: Characters of a frame from which on it is worth a look whether anything in it needs an escape.
_LONG = 1024
#: What JSON escapes in a text.
_ESCAPED = ('"', "\\", *map(chr, range(0x20)))

# Built once, as in engine.store.tasks.
_LINK = sa.and_(
    links.c.task_id == sa.bindparam("the_task"),
    links.c.attempt == sa.bindparam("the_attempt"),
    links.c.origin == sa.bindparam("the_origin"),
    links.c.link == sa.bindparam("the_link"),
)
_MOVE = links.update().where(_LINK)
_INSERT = log_chunks.insert().values(created_at=now_ms())
_POSITION = sa.select(
    links.c.stdout_stamp, links.c.stdout_frames, links.c.stderr_stamp, links.c.stderr_frames
).where(_LINK)
_HOLDS = (
    sa.select(tasks.c.id)
    .where(
        tasks.c.id == sa.bindparam("the_task"),
        guard(
            "append_log.token",
            tasks.c.attempt == sa.bindparam("the_attempt"),
            tasks.c.delivery == sa.bindparam("the_delivery"),
        ),
        guard("append_log.state", tasks.c.state == TaskState.RUNNING),
    )
    .with_for_update(read=True)
)
_OLDEST = sa.and_(
    log_chunks.c.task_id == sa.bindparam("the_task"),
    log_chunks.c.seq >= sa.bindparam("the_first"),
    log_chunks.c.seq < sa.bindparam("the_newest"),
)
_SIZES = (
    sa.select(log_chunks.c.seq, log_chunks.c.bytes).where(_OLDEST).order_by(log_chunks.c.seq).limit(BATCH)
)
_DELETE = log_chunks.delete().where(_OLDEST)
_TAKE = (
    log_heads.update()
    .where(log_heads.c.task_id == sa.bindparam("the_task"))
    .values(
        next_seq=log_heads.c.next_seq + 1,
        next_line=log_heads.c.next_line + sa.bindparam("the_lines"),
        bytes=log_heads.c.bytes + sa.bindparam("the_size"),
    )
    .returning(log_heads.c.next_seq, log_heads.c.next_line, log_heads.c.bytes, log_heads.c.tail_seq)
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
class Piece:
    """Frames as they will be stored: made ready outside of the transaction, by another thread than it."""

    #: How many frames.
    lines: int
    #: Bytes of their texts.
    size: int
    #: The frames as JSON, commas between them: what a chunk has between its brackets.
    text: str


@dataclass(frozen=True)
class Head:
    """How long a task's log is: frames written, bytes kept, and bytes cut because it is too long."""

    lines: int = 0
    bytes: int = 0
    cut_bytes: int = 0


def piece(frames: Sequence[Frame]) -> Piece:
    """Make frames, one at least, ready to be stored."""
    return Piece(len(frames), _size("".join([text for _, _, text in frames])), _dump(frames))


def append(  # noqa: PLR0913 - the token, the link, what it wrote, and how far: all of one write
    c: sa.Connection,
    token: Token,
    origin: int,
    link_index: int,
    pieces: Sequence[Piece],
    position: LogPosition,
    limit_bytes: int,
) -> bool:
    """Add pieces to the task's log, as one chunk, and move the link's position, together.

    Returns False, having written nothing, when the task does not run under this token: a fenced writer
    writes nothing. Beyond `limit_bytes` of the task its first half stays, and as many of the newest frames as
    fit; the newest chunk always does. The position moves, whatever is cut.
    """
    if not _holds(c, token):
        return False
    if pieces:
        _write(c, (token.task_id, token.attempt, origin, link_index), _joined(pieces), limit_bytes)
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


def position(c: sa.Connection, run: RunKey, index: int) -> LogPosition:
    """How far this link's log is stored; the beginning when the link is unknown."""
    row = c.execute(_POSITION, _link(*run, index)).one_or_none()
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
    """At most `limit` chunks behind `after_seq` (-1: from the first), in order.

    Where some were cut since, a chunk with the note comes as well, under the number before the next that is
    kept; so a reader who goes on behind it meets it once.
    """
    rows = c.execute(
        sa.select(log_chunks)
        .where(log_chunks.c.task_id == task_id, log_chunks.c.seq > after_seq)
        .order_by(log_chunks.c.seq)
        .limit(limit)
    )
    found: list[Chunk] = []
    for chunk in map(as_chunk, rows):
        if chunk.seq != after_seq + 1:
            found.append(note_before(c, task_id, chunk))
        found.append(chunk)
        after_seq = chunk.seq
    return found


def seq_of(c: sa.Connection, task_id: str, line: int) -> int:
    """The chunk that has the frame behind the first `line` frames, or would have it; -1 when there is none."""
    found = c.scalar(
        sa.select(sa.func.max(log_chunks.c.seq)).where(
            log_chunks.c.task_id == task_id, log_chunks.c.first_line <= line
        )
    )
    return -1 if found is None else int(found)


def note_before(c: sa.Connection, task_id: str, chunk: Chunk) -> Chunk:
    """The note of what was cut in front of this chunk: it stands in the last place that was cut."""
    note: Frame = (0, chunk.frames[0][1], gap_note(head(c, task_id).cut_bytes))
    return replace(chunk, seq=chunk.seq - 1, first_line=chunk.first_line - 1, frames=(note,))


def as_chunk(row: sa.Row[Any]) -> Chunk:
    """The chunk of a row of log_chunks."""
    frames = tuple((stream, stamp, text) for stream, stamp, text in json.loads(row.frames))
    return Chunk(row.seq, row.attempt, row.origin, row.link, row.created_at, row.first_line, frames)


def _holds(c: sa.Connection, token: Token) -> bool:
    """True when the task runs under this token, which then stays so until the end of the transaction."""
    values = {"the_task": token.task_id, "the_attempt": token.attempt, "the_delivery": token.delivery}
    return c.scalar(_HOLDS, values) is not None


def _joined(pieces: Sequence[Piece]) -> Piece:
    return Piece(
        sum(piece.lines for piece in pieces),
        sum(piece.size for piece in pieces),
        ",".join([piece.text for piece in pieces]),
    )


def _write(c: sa.Connection, at: tuple[str, int, int, int], whole: Piece, limit: int) -> None:
    seq, line, with_all, tail_seq = _take(c, at[0], whole.lines, whole.size)
    half = limit // 2
    if with_all <= half:
        _insert(c, at, seq, line, whole)
        return
    # What still goes to the head.
    room = half - (with_all - whole.size) if tail_seq is None else 0
    # Small beside the half that they share: a cut takes whole pieces away.
    most = limit // 8
    fitting, parts = (0, [whole]) if room <= 0 and whole.size <= most else _parts(whole, room, most)
    for number, part in enumerate(parts, seq):
        _insert(c, at, number, line, part)
        line += part.lines
    newest = seq + len(parts) - 1
    if tail_seq is None:
        _trim(c, at[0], seq + bool(fitting), newest, with_all - limit)
    elif newest > seq or with_all > limit:
        _trim(c, at[0], tail_seq, newest, with_all - limit)


def _parts(whole: Piece, room: int, most: int) -> tuple[int, list[Piece]]:
    """How many frames fit into `room`, and all in parts: these, then the others by at most `most` bytes."""
    frames = json.loads(f"[{whole.text}]")
    sizes = [_size(text) for _, _, text in frames]
    fitting = sum(1 for total in itertools.accumulate(sizes) if total <= room)
    parts = [piece(frames[:fitting])] if fitting else []
    return fitting, parts + _split(frames[fitting:], sizes[fitting:], most)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _split(frames: Sequence[Frame], sizes: Sequence[int], most: int) -> list[Piece]:
    """The frames in parts of at most `most` bytes, or of one frame."""
    parts, begin, held = [], 0, 0
    for index, size in enumerate(sizes):
        if index > begin and held + size > most:
            parts.append(piece(frames[begin:index]))
            begin, held = index, 0
        held += size
    return [*parts, piece(frames[begin:])] if frames else []


def _trim(c: sa.Connection, task_id: str, first: int, newest: int, excess: int) -> None:
    """Delete the oldest chunks from `first` on until `excess` bytes are gone, the newest never; count them."""
    lost, begin = 0, first
    while lost < excess and first < newest:
        oldest = {"the_task": task_id, "the_first": first, "the_newest": newest}
        rows = c.execute(_SIZES, oldest).all()
        if not rows:
            break
        for seq, size in rows:
            if lost < excess:
                lost += _size_of(c, task_id, seq) if size is None else size
                first = seq + 1
    if first > begin:
        c.execute(_DELETE, {"the_task": task_id, "the_first": begin, "the_newest": first})
    c.execute(
        log_heads.update()
        .where(log_heads.c.task_id == task_id)
        .values(
            next_seq=newest + 1,
            tail_seq=first,
            bytes=log_heads.c.bytes - lost,
            cut_bytes=log_heads.c.cut_bytes + lost,
        )
    )


def _size_of(c: sa.Connection, task_id: str, seq: int) -> int:
    """The bytes of a chunk that was stored before a column said it."""
    frames = sa.select(log_chunks.c.frames).where(log_chunks.c.task_id == task_id, log_chunks.c.seq == seq)
    return sum(_size(text) for _, _, text in json.loads(c.scalars(frames).one()))


def _insert(c: sa.Connection, at: tuple[str, int, int, int], seq: int, line: int, part: Piece) -> None:
    c.execute(
        _INSERT,
        {
            "task_id": at[0],
            "seq": seq,
            "attempt": at[1],
            "origin": at[2],
            "link": at[3],
            "first_line": line,
            "frames": f"[{part.text}]",
            "bytes": part.size,
        },
    )


def _take(c: sa.Connection, task_id: str, lines: int, size: int) -> tuple[int, int, int, int | None]:
    """Count the frames in as one chunk. Returns its number and first line, the bytes with it, the tail's begin."""
    taken = {"the_task": task_id, "the_lines": lines, "the_size": size}
    row = c.execute(_TAKE, taken).one_or_none()
    if row is None:
        insert = sqlite.insert if c.dialect.name == "sqlite" else postgresql.insert
        fresh = {"task_id": task_id, "next_seq": 0, "next_line": 0, "bytes": 0, "cut_bytes": 0}
        c.execute(insert(log_heads).values(fresh).on_conflict_do_nothing())
        row = c.execute(_TAKE, taken).one()
    return row.next_seq - 1, row.next_line - lines, row.bytes, row.tail_seq


def _link(task_id: str, attempt: int, origin: int, index: int) -> dict[str, Any]:
    return {"the_task": task_id, "the_attempt": attempt, "the_origin": origin, "the_link": index}


def _dump(frames: Sequence[Frame]) -> str:
    """The frames as JSON, commas between them."""
    text = ",".join([_dump_one(*frame) for frame in frames]) if len(frames[0][2]) >= _LONG else _json(frames)
    try:
        _ = text.isascii() or text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: escaped it is plain ASCII, and comes back as it was.
        return json.dumps(frames, separators=(",", ":"))[1:-1]
    return text


def _dump_one(stream: int, stamp: str, text: str) -> str:
    """A long frame. To look for what JSON escapes, sign by sign, takes an eighth of the time that json takes."""
    if any(sign in text for sign in _ESCAPED):
        return _json([(stream, stamp, text)])
    return f'[{stream},{json.dumps(stamp)},"{text}"]'


def _json(frames: Sequence[Frame]) -> str:
    return json.dumps(frames, ensure_ascii=False, separators=(",", ":"))[1:-1]
