"""Log of a task: pages of lines (JSON), the text as it was written, or a stream of chunks (SSE)."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterator
from typing import Any

from flask import Response, request

from api import answers, sse, tasks
from api.context import ApiContext, get_context
from api.problem import RequestRefused
from api.turns import TooBusy
from engine.errors import StoreUnavailable
from engine.model.log_text import LogText
from engine.model.records import Task
from engine.model.states import TaskState
from engine.store import last_words, links, log_lines, logs
from engine.store import tasks as task_rows
from engine.store.database import Connection
from engine.store.log_lines import EVERYTHING, Selection
from engine.wording.times import rfc3339

log = logging.getLogger("ferryman.logs")

#: Pause between two reads of a log that grows, and longest pause for one that does not.
_BUSY_SECONDS, _IDLE_SECONDS = 0.1, 0.5
_SEQ = re.compile(r"\d{1,9}", re.ASCII)


def get_log(query: dict[str, Any], id: str) -> Response | answers.Json:
    """Return a page of the log; text for `Accept: text/plain`, `tail` or `timestamps`; a stream for `follow`."""
    context = get_context()
    task_id = tasks.resolve(context, id)
    accepts = request.accept_mimetypes.best_match(["application/json", "text/plain", "text/event-stream"])
    part = Selection(query["attempt"], query["link"])
    if query["follow"] or accepts == "text/event-stream":
        return follow(context, task_id, query["tail"], part)
    if query["tail"] is not None or query["timestamps"] or accepts == "text/plain":
        return text(context, task_id, query["tail"], part, with_stamps=query["timestamps"])
    with context.installation.db.read() as c:
        at = (query["page"], query["size"])
        lines, total = log_lines.page(c, task_id, *at, query["q"], part, context.turns.rest)
    return answers.page([_line_answer(line) for line in lines], query["page"], query["size"], total)


def text(
    context: ApiContext, task_id: str, tail: int | None, part: Selection, *, with_stamps: bool
) -> Response:
    """Return the bytes that the containers wrote, streamed: memory holds only a few chunks at a time."""
    log_text = LogText(with_stamps=with_stamps)
    pieces: Iterator[bytes]
    if tail is None:
        pieces = _whole_text(context, task_id, part, log_text)
    else:
        with context.installation.db.read() as c:
            lines = log_lines.tail(c, task_id, tail, part)
        pieces = (_utf8(log_text.add(_link(line), [line.frame])) for line in lines)
    if request.method == "HEAD":
        pieces = iter(())
    return Response(pieces, content_type="text/plain; charset=utf-8")


def follow(
    context: ApiContext, task_id: str, tail: int | None = None, part: Selection = EVERYTHING
) -> Response:
    """Stream the log until the task ends. Last-Event-ID resumes after that chunk; else `tail` counts.

    Messages: `log`, a chunk; `closed`, all output of the first links of a run was sent; `end`.
    """
    after, first_line = -1, 0
    if (last := request.headers.get("Last-Event-ID")) is not None:
        if _SEQ.fullmatch(last) is None:
            found = f"Last-Event-ID {last[:40]!r} is not the number of a log chunk"
            raise RequestRefused(400, found, "leave the header out")
        after = int(last)
    elif tail is not None:
        after, first_line = _tail_start(context, task_id, tail, part)
    return sse.stream(context.feed, lambda: _messages(context, task_id, after, first_line, part))


def _utf8(written: str) -> bytes:
    try:
        # Bytes that were not UTF-8 are stored as Python's surrogate escapes, and come back unchanged.
        return written.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return written.encode("utf-8", "replace")


def _link(of: logs.Chunk | log_lines.Line) -> tuple[int, int, int]:
    return of.attempt, of.origin, of.link


def _whole_text(context: ApiContext, task_id: str, part: Selection, log_text: LogText) -> Iterator[bytes]:
    after = -1
    while True:
        with context.turns.turn(), context.installation.db.read() as c:
            batch = logs.chunks(c, task_id, after)
        for chunk in filter(part.has, batch):
            with context.turns.turn():
                piece = _utf8(log_text.add(_link(chunk), chunk.frames))
            yield piece
        if not batch:
            return
        after = batch[-1].seq


def _messages(
    context: ApiContext, task_id: str, after: int, first_line: int, part: Selection
) -> Generator[str]:
    ending, pause, last_closed = context.feed.ending, 0.0, None
    try:
        while not ending.wait(pause):
            with context.turns.turn(), context.installation.db.read() as c:
                # In this order: a task or link that has ended, and had its last words, writes nothing more.
                task = task_rows.get(c, task_id)
                is_speaking = task is not None and _is_speaking(c, context, task)
                closed = links.count_closed(c, task.run) if task else 0
                batch = logs.chunks(c, task_id, after)
                # The database was put back in time, and this task's log with it.
                is_ahead = not batch and after >= 0 and after >= logs.next_chunk(c, task_id)
            for chunk in batch:
                after = chunk.seq
                if part.has(chunk) and chunk.first_line + len(chunk.frames) > first_line:
                    with context.turns.turn():
                        message = _chunk_message(chunk, first_line)
                    yield message
            if not batch and is_ahead:
                after = -1
                yield sse.message("reset", {}, "")
                continue
            is_closing = not batch and not is_speaking
            if is_closing and task is not None and (task.token, task.origin, closed) != last_closed:
                last_closed = task.token, task.origin, closed
                run = {"attempt": task.attempt, "origin": task.origin, "delivery": task.delivery}
                yield sse.message("closed", run | {"links": closed})
            if is_closing and (task is None or task.state.ended):
                yield sse.message("end", {"state": task.state if task else "CANCELLED"})
                return
            if not batch:
                yield sse.IDLE
            pause = 0.0 if batch else min(_IDLE_SECONDS, max(_BUSY_SECONDS, pause * 1.5))
    except (StoreUnavailable, TooBusy) as exc:
        log.warning("ending a log stream: %s", exc)


def _is_speaking(c: Connection, context: ApiContext, task: Task) -> bool:
    """Return whether the task was cancelled and its container may still write."""
    if task.state is not TaskState.CANCELLED:
        return False
    return bool(last_words.speaking(c, [task.id], context.installation.last_words_ms))


def _tail_start(context: ApiContext, task_id: str, tail: int, part: Selection) -> tuple[int, int]:
    """Return the chunk before the last `tail` lines, and the number of frames before these lines."""
    with context.installation.db.read() as c:
        lines = log_lines.tail(c, task_id, tail, part)
        first_line = lines[0].number - 1 if lines else logs.head(c, task_id).lines
        return max(-1, logs.seq_of(c, task_id, first_line) - 1), first_line


def _chunk_message(chunk: logs.Chunk, first_line: int) -> str:
    skipped = max(0, first_line - chunk.first_line)
    data = {
        "seq": chunk.seq,
        "attempt": chunk.attempt,
        "origin": chunk.origin,
        "link": chunk.link,
        "firstLine": chunk.first_line + skipped + 1,
        "frames": [
            [stream, stamp, _without_surrogates(written)] for stream, stamp, written in chunk.frames[skipped:]
        ],
    }
    return sse.message("log", data, chunk.seq)


def _line_answer(line: log_lines.Line) -> answers.Json:
    stream, stamp, written = line.frame
    created_at = f"{stamp[:23]}Z" if len(stamp) > 23 else rfc3339(line.created_at)
    return {
        **vars(line),
        "contents": _without_surrogates(written),
        "created_at": created_at,
        "stream": stream,
    }


def _without_surrogates(written: str) -> str:
    """Replace single surrogates, which JSON may carry but most parsers refuse."""
    if written.isascii():
        return written
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
