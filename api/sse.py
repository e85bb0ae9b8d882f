"""Server-sent events: the text of a message, and the answer that streams messages and gives its seat back."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from flask import Response, request

from api.feed import Feed

#: A quiet stream sends a comment this often, so that proxies and clients do not take it for dead.
KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ": keep-alive\n\n"
#: Yielded by the source of a stream when it has nothing to send.
IDLE = ""
#: First bytes of a stream: the browser reconnects one second after the connection breaks.
_OPENING = "retry: 1000\n\n"


def message(event: str, data: dict[str, Any], id: str | int | None = None) -> str:
    """Return the text of a message. JSON escapes line breaks, so the data is a single line."""
    id_line = "" if id is None else f"id: {id}\n"
    return f"{id_line}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def stream(feed: Feed, messages: Callable[[], Generator[str]]) -> Response:
    """Return an answer that streams the messages. Raises TooManyStreams before anything is sent.

    `messages` yields IDLE at least once a second while there is nothing to send: then the stream ends if its client
    has gone. The server closes every answer, however it ends; closing gives the seat back.
    """
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    feed.take_seat()
    answer = Response(
        _until_gone(messages, request.environ.get("gunicorn.socket")), mimetype="text/event-stream"
    )
    answer.call_on_close(feed.give_back_seat)
    # nginx would otherwise hold messages back until its buffer is full.
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _until_gone(messages: Callable[[], Generator[str]], connection: socket.socket | None) -> Iterator[str]:
    yield _OPENING
    last_sent = time.monotonic()
    with closing(messages()) as source:
        for text in source:
            if text == IDLE and connection is not None and _is_gone(connection):
                return
            if text != IDLE or time.monotonic() - last_sent >= KEEP_ALIVE_SECONDS:
                last_sent = time.monotonic()
                yield text or KEEP_ALIVE


def _is_gone(connection: socket.socket) -> bool:
    """Return whether the client has closed the connection, or the server has cut it."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
