"""Output of a task's links, in chunks of frames, written under the token. `log_lines` reads it by lines.

A log that exceeds its bound keeps its first half and its newest chunks. The log gap between them is a gap in the
chunks' numbers, where readers get a chunk with the gap note.

A frame is what Docker delivers: a line, or a piece of at most 16 KB of a longer line; `first_line` and line
numbers count frames. Any text can be stored: JSON escapes what a database refuses (NUL, half surrogate pairs).
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
from engine.model.records import LogPosition, RunKey, Token
from engine.store import links, tasks
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import log_chunks, log_heads

#: (stream, stamp, text): stream 1 is standard output, 2 standard error, 0 a line from Ferryman.
Frame = tuple[int, str, str]
#: Chunks that are read at once; each holds one write of a worker.
BATCH = 16
#: Characters from which it pays to check first whether anything in a frame needs an escape.
_LONG = 1024
#: Characters that JSON escapes in a text.
_ESCAPED = ('"', "\\", *map(chr, range(0x20)))

# Built once, as in engine.store.tasks.
_INSERT = log_chunks.insert().values(created_at=now_ms())
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
    .where(
        log_heads.c.task_id == sa.bindparam("the_task"),
        guard("append_log.next", log_heads.c.next_seq == sa.bindparam("the_next")),
    )
    .values(
        next_seq=log_heads.c.next_seq + 1,
        next_line=log_heads.c.next_line + sa.bindparam("the_lines"),
        bytes=log_heads.c.bytes + sa.bindparam("the_size"),
    )
    .returning(log_heads.c.next_seq, log_heads.c.next_line, log_heads.c.bytes, log_heads.c.tail_seq)
)


@dataclass(frozen=True)
class Chunk:
    """Frames of one link that were written at once."""

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
    """Frames as they will be stored, prepared outside the transaction and by another thread."""

    #: Number of frames.
    lines: int
    #: Bytes of the frames' texts.
    size: int
    #: The frames as JSON, joined by commas: the inside of a JSON list.
    text: str


@dataclass(frozen=True)
class Bounds:
    """Bounds of what a task's log takes."""

    #: Bytes of text that are kept.
    log_bytes: int
    #: Time after a cancel in which chunks are still taken.
    window_ms: int


@dataclass(frozen=True)
class Head:
    """Length of a task's log: frames written, bytes kept, and bytes missing because it was too long."""

    lines: int = 0
    bytes: int = 0
    missing_bytes: int = 0


def piece(frames: Sequence[Frame]) -> Piece:
    """Prepare frames, at least one, for storing."""
    return Piece(len(frames), _size("".join([text for _, _, text in frames])), _dump(frames))


def append(  # noqa: PLR0913 - one write: the token, the link, its frames, and its position
    c: sa.Connection,
    token: Token,
    origin: int,
    link_index: int,
    pieces: Sequence[Piece],
    position: LogPosition,
    bounds: Bounds,
    next_seq: int,
) -> int | None:
    """Add pieces to the task's log as chunk `next_seq`, and move the link's position with them.

    Returns the number of the next chunk. If the log has a chunk `next_seq`, an earlier call has stored these pieces,
    and nothing is written: only one thread writes under a token. Returns None, having written nothing, when the task
    does not run under this token and was not cancelled under it a moment ago: a fenced writer writes nothing.

    A log beyond its bound keeps its first half and as many of the newest frames as fit, always including the newest
    chunk. The position moves even when frames are dropped.
    """
    if not tasks.may_append_log(c, token, bounds.window_ms):
        return None
    run = RunKey(token.task_id, token.attempt, origin)
    after = _write(c, (*run, link_index), _joined(pieces), bounds.log_bytes, next_seq)
    if after is None:
        return next_chunk(c, token.task_id)
    links.set_log_position(c, run, link_index, position)
    return after


def next_chunk(c: sa.Connection, task_id: str) -> int:
    """Return the number of the task's next chunk."""
    seq = c.scalar(sa.select(log_heads.c.next_seq).where(log_heads.c.task_id == task_id))
    return 0 if seq is None else int(seq)


def head(c: sa.Connection, task_id: str) -> Head:
    """Return the log's length; all zero for a task that has written nothing."""
    row = c.execute(
        sa.select(log_heads.c.next_line, log_heads.c.bytes, log_heads.c.missing_bytes).where(
            log_heads.c.task_id == task_id
        )
    ).one_or_none()
    return Head(*row) if row else Head()


def chunks(c: sa.Connection, task_id: str, after_seq: int = -1, limit: int = BATCH) -> list[Chunk]:
    """Return at most `limit` chunks after `after_seq` (-1: from the first), in order.

    A log gap adds a chunk with the gap note, numbered one below the next chunk that is kept. A reader who
    continues after that number gets the note once.
    """
    rows = c.execute(
        sa.select(log_chunks)
        .where(log_chunks.c.task_id == task_id, log_chunks.c.seq > after_seq)
        .order_by(log_chunks.c.seq)
        .limit(limit)
    )
    with_notes: list[Chunk] = []
    for chunk in map(as_chunk, rows):
        if chunk.seq != after_seq + 1:
            with_notes.append(note_before(c, task_id, chunk))
        with_notes.append(chunk)
        after_seq = chunk.seq
    return with_notes


def seq_of(c: sa.Connection, task_id: str, line: int) -> int:
    """Return the number of the chunk that has, or would have, the frame after the first `line`; -1: no chunk."""
    seq = c.scalar(
        sa.select(sa.func.max(log_chunks.c.seq)).where(
            log_chunks.c.task_id == task_id, log_chunks.c.first_line <= line
        )
    )
    return -1 if seq is None else int(seq)


def note_before(c: sa.Connection, task_id: str, chunk: Chunk) -> Chunk:
    """Return the gap note in front of this chunk. It has the number of the last missing chunk."""
    note: Frame = (0, chunk.frames[0][1], gap_note(head(c, task_id).missing_bytes))
    return replace(chunk, seq=chunk.seq - 1, first_line=chunk.first_line - 1, frames=(note,))


def as_chunk(row: sa.Row[Any]) -> Chunk:
    """Return the chunk of a row of log_chunks."""
    frames = tuple((stream, stamp, text) for stream, stamp, text in json.loads(row.frames))
    return Chunk(row.seq, row.attempt, row.origin, row.link, row.created_at, row.first_line, frames)


def _joined(pieces: Sequence[Piece]) -> Piece:
    return Piece(
        sum(piece.lines for piece in pieces),
        sum(piece.size for piece in pieces),
        ",".join([piece.text for piece in pieces]),
    )


def _write(
    c: sa.Connection, at: tuple[str, int, int, int], whole: Piece, limit: int, next_seq: int
) -> int | None:
    """Write the piece from chunk `next_seq` on, and return the number after it; None when that chunk is there."""
    taken = _take(c, at[0], whole.lines, whole.size, next_seq)
    if taken is None:
        return None
    seq, line, with_all, tail_seq = taken
    half = limit // 2
    if with_all <= half:
        _insert(c, at, seq, line, whole)
        return seq + 1
    # Bytes that still fit into the half that always stays.
    room = half - (with_all - whole.size) if tail_seq is None else 0
    # Small compared with the half that they share, because whole chunks are dropped.
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
    return newest + 1


def _parts(whole: Piece, room: int, most: int) -> tuple[int, list[Piece]]:
    """Return how many frames fit into `room`, and all frames in parts: those, then others of at most `most` bytes."""
    frames = json.loads(f"[{whole.text}]")
    sizes = [_size(text) for _, _, text in frames]
    fitting = sum(1 for total in itertools.accumulate(sizes) if total <= room)
    parts = [piece(frames[:fitting])] if fitting else []
    return fitting, parts + _split(frames[fitting:], sizes[fitting:], most)


def _size(text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        # A byte that is not UTF-8 is an escape, and counts as the one byte that was written.
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return len(text.encode("utf-8", "surrogatepass"))


def _split(frames: Sequence[Frame], sizes: Sequence[int], most: int) -> list[Piece]:
    """Split the frames into parts of at most `most` bytes or of one frame."""
    parts, begin, held = [], 0, 0
    for index, size in enumerate(sizes):
        if index > begin and held + size > most:
            parts.append(piece(frames[begin:index]))
            begin, held = index, 0
        held += size
    return [*parts, piece(frames[begin:])] if frames else []


def _trim(c: sa.Connection, task_id: str, first: int, newest: int, excess: int) -> None:
    """Delete the oldest chunks from `first` on until `excess` bytes are gone, but never the newest; count them."""
    lost, begin = 0, first
    while lost < excess and first < newest:
        rows = c.execute(_SIZES, {"the_task": task_id, "the_first": first, "the_newest": newest}).all()
        if not rows:
            break
        for seq, size in rows:
            if lost < excess:
                lost += size
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
            missing_bytes=log_heads.c.missing_bytes + lost,
        )
    )


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


def _take(
    c: sa.Connection, task_id: str, lines: int, size: int, next_seq: int
) -> tuple[int, int, int, int | None] | None:
    """Reserve chunk `next_seq` for these frames; None when it is there.

    Returns its number and first line, the new bytes, the tail's begin.
    """
    taken = {"the_task": task_id, "the_lines": lines, "the_size": size, "the_next": next_seq}
    row = c.execute(_TAKE, taken).one_or_none()
    if row is None and not next_seq:
        insert = sqlite.insert if c.dialect.name == "sqlite" else postgresql.insert
        fresh = {"task_id": task_id, "next_seq": 0, "next_line": 0, "bytes": 0, "missing_bytes": 0}
        c.execute(insert(log_heads).values(fresh).on_conflict_do_nothing())
        row = c.execute(_TAKE, taken).one_or_none()
    if row is None:
        return None
    return row.next_seq - 1, row.next_line - lines, row.bytes, row.tail_seq


def _dump(frames: Sequence[Frame]) -> str:
    """Return the frames as JSON, joined by commas."""
    text = ",".join([_dump_one(*frame) for frame in frames]) if len(frames[0][2]) >= _LONG else _json(frames)
    try:
        _ = text.isascii() or text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: escaped, it is plain ASCII, and is read back unchanged.
        return json.dumps(frames, separators=(",", ":"))[1:-1]
    return text


def _dump_one(stream: int, stamp: str, text: str) -> str:
    """Return a long frame as JSON. Searching for each character that JSON escapes takes an eighth of json's time."""
    if any(sign in text for sign in _ESCAPED):
        return _json([(stream, stamp, text)])
    return f'[{stream},{json.dumps(stamp)},"{text}"]'


def _json(frames: Sequence[Frame]) -> str:
    return json.dumps(frames, ensure_ascii=False, separators=(",", ":"))[1:-1]
