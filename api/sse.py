"""Server-sent events: the text of a message, and the answer that streams messages and gives its seat back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, request

from api.feed import Feed

#: A quiet stream sends a comment this often, so that proxies and clients do not take it for dead.
KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ": keep-alive\n\n"
#: First bytes of a stream: the browser reconnects one second after the connection breaks.
_OPENING = "retry: 1000\n\n"


def message(event: str, data: dict[str, Any], id: str | int | None = None) -> str:
    """Return the text of a message. JSON escapes line breaks, so the data is a single line."""
    id_line = "" if id is None else f"id: {id}\n"
    return f"{id_line}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def stream(feed: Feed, messages: Callable[[], Iterator[str]]) -> Response:
    """Return an answer that streams the messages. Raises TooManyStreams before anything is sent.

    The server closes every answer, however it ends; closing gives the seat back.
    """
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    feed.take_seat()
    answer = Response(_opened(messages), mimetype="text/event-stream")
    answer.call_on_close(feed.give_back_seat)
    # nginx would otherwise hold messages back until its buffer is full.
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _opened(messages: Callable[[], Iterator[str]]) -> Iterator[str]:
    yield _OPENING
    yield from messages()
