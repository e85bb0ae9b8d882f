"""A task's log: pages of lines (JSON), the text as it was written, or as it comes (SSE)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, request

from api import answers, sse, tasks
from api.context import ApiContext, get_context
from api.problem import Refused
from engine.errors import StoreUnavailable
from engine.model.log_gap import is_gap, set_off
from engine.store import log_lines, logs
from engine.store import tasks as task_rows
from engine.store.database import Database

log = logging.getLogger("ferryman.logs")

#: Between two looks at a log that grows, and at one that does not.
_BUSY_SECONDS, _IDLE_SECONDS = 0.1, 0.5
_SEQ = re.compile(r"\d{1,9}", re.ASCII)


def get_log(asked: dict[str, Any], id: str) -> Response | answers.Json:
    """A page of the log; a text for `Accept: text/plain`, `tail` or `timestamps`; a stream for `follow`."""
    context = get_context()
    task_id = tasks.resolve(context, id)
    accepts = request.accept_mimetypes.best_match(["application/json", "text/plain", "text/event-stream"])
    if asked["follow"] or accepts == "text/event-stream":
        return follow(context, task_id, asked["tail"])
    if asked["tail"] is not None or asked["timestamps"] or accepts == "text/plain":
        return text(context, task_id, asked["tail"], asked["timestamps"])
    return page(context, task_id, asked["page"], asked["size"], asked["q"])


def page(context: ApiContext, task_id: str, number: int, size: int, q: str = "") -> answers.Json:
    """A page of the lines (from 1), oldest first."""
    with context.db.read() as c:
        found, total = log_lines.page(c, task_id, number, size, q)
    return answers.page([_line(line) for line in found], number, size, total)


def text(context: ApiContext, task_id: str, tail: int | None, timestamps: bool) -> Response:
    """What the containers wrote, byte by byte; memory holds a few chunks of it at a time."""
    written = Written(timestamps)
    if tail is None:
        pieces = _whole(context.db, task_id, written)
    else:
        with context.db.read() as c:
            found = log_lines.tail(c, task_id, tail)
        pieces = (written.piece((x.attempt, x.origin, x.link), [x.frame]) for x in found)
    if request.method == "HEAD":
        pieces = iter(())
    return Response(pieces, content_type="text/plain; charset=utf-8")


def follow(context: ApiContext, task_id: str, tail: int | None = None) -> Response:
    """The log as it comes, until the task has ended. Last-Event-ID goes on behind that chunk."""
    after, first_line = -1, 0
    if (last := request.headers.get("Last-Event-ID")) is not None:
        if _SEQ.fullmatch(last) is None:
            raise Refused(400, f"Last-Event-ID {last[:40]!r} is no number of a log's piece", "leave it out")
        after = int(last)
    elif tail is not None:
        after, first_line = _tail_begins(context, task_id, tail)
    return sse.stream(context.feed, lambda: _messages(context, task_id, after, first_line))


class Written:
    """Turns frames back into what was written, with Docker's stamp before each line if asked for.

    Where the log was cut stands a line of its own that says how much; other notes of ours are left out.
    """

    def __init__(self, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._link: tuple[int, int, int] | None = None
        #: Streams of the present link that are in the middle of a line.
        self._inside: set[int] = set()

    def piece(self, link: tuple[int, int, int], frames: Iterable[logs.Frame]) -> bytes:
        """The bytes of these frames; another link begins a line of its own."""
        parts: list[str] = []
        for stream, stamp, written in frames:
            if is_gap(stream, written):
                parts.append(set_off(written, inside_line=bool(self._inside)))
                self._inside = set()
            if stream == 0:
                continue
            if link != self._link:
                parts += ["\n"] if self._inside else []
                self._link, self._inside = link, set()
            if self._timestamps and stream not in self._inside:
                parts.append(f"{stamp} ")
            parts.append(written)
            (self._inside.discard if written.endswith("\n") else self._inside.add)(stream)
        return _encoded("".join(parts))


def _encoded(written: str) -> bytes:
    try:
        # Bytes that were no UTF-8 come back as they were, if they were kept as Python keeps them.
        return written.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return written.encode("utf-8", "replace")


def _whole(db: Database, task_id: str, written: Written) -> Iterator[bytes]:
    after = -1
    while True:
        with db.read() as c:
            batch = logs.chunks(c, task_id, after)
        for chunk in batch:
            yield written.piece((chunk.attempt, chunk.origin, chunk.link), chunk.frames)
        if not batch:
            return
        after = batch[-1].seq


def _messages(context: ApiContext, task_id: str, after: int, first_line: int) -> Iterator[str]:
    ending, heard = context.feed.ending, time.monotonic()
    pause = 0.0
    try:
        while not ending.wait(pause):
            with context.db.read() as c:
                # In this order: a task that has ended writes nothing more.
                task = task_rows.get(c, task_id)
                found = logs.chunks(c, task_id, after)
            for chunk in found:
                after, heard = chunk.seq, time.monotonic()
                if chunk.first_line + len(chunk.frames) > first_line:
                    yield _chunk(chunk, first_line)
            if not found and (task is None or task.state.ended):
                yield sse.message("end", {"state": task.state if task else "CANCELLED"})
                return
            if time.monotonic() - heard >= sse.KEEP_ALIVE_SECONDS:
                heard = time.monotonic()
                yield sse.KEEP_ALIVE
            pause = 0.0 if found else min(_IDLE_SECONDS, max(_BUSY_SECONDS, pause * 1.5))
    except StoreUnavailable as exc:
        log.warning("a stream of a log ends, the database does not answer: %s", exc)


def _tail_begins(context: ApiContext, task_id: str, tail: int) -> tuple[int, int]:
    """The chunk before the last `tail` lines, and how many frames come before them."""
    with context.db.read() as c:
        found = log_lines.tail(c, task_id, tail)
        first_line = found[0].number - 1 if found else logs.head(c, task_id).lines
        return max(-1, logs.seq_of(c, task_id, first_line) - 1), first_line


def _chunk(chunk: logs.Chunk, first_line: int) -> str:
    skipped = max(0, first_line - chunk.first_line)
    data = {
        "seq": chunk.seq,
        "attempt": chunk.attempt,
        "origin": chunk.origin,
        "link": chunk.link,
        "firstLine": chunk.first_line + skipped + 1,
        "frames": [[stream, stamp, _readable(written)] for stream, stamp, written in chunk.frames[skipped:]],
    }
    return sse.message("log", data, chunk.seq)


def _line(line: log_lines.Line) -> answers.Json:
    stream, stamp, written = line.frame
    return {
        "number": line.number,
        "contents": _readable(written),
        "createdAt": f"{stamp[:23]}Z" if len(stamp) > 23 else answers.rfc3339(line.created_at),
        "stream": stream,
        "link": line.link,
        "attempt": line.attempt,
    }


def _readable(written: str) -> str:
    """Without halves of surrogate pairs, which JSON may carry and most readers do not."""
    return (
        written
        if written.isascii()
        else written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
