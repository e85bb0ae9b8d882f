"""Server-sent events: how a message is written, and the answer that streams them and gives its seat back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, request

from api.feed import Feed

#: A comment this often keeps proxies and clients from taking a quiet stream for a dead one.
KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ": keep-alive\n\n"
#: The first bytes: the browser asks again after a second when the connection is cut.
_OPENING = "retry: 1000\n\n"


def message(event: str, data: dict[str, Any], id: str | int | None = None) -> str:
    """One message. JSON has no line breaks outside its escapes, so it is one `data` line."""
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def stream(feed: Feed, messages: Callable[[], Iterator[str]]) -> Response:
    """An answer that sends the messages. Raises TooManyListeners before anything is sent.

    The seat is given back when the answer is closed, however it ends: the server always closes it.
    """
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    feed.take_seat()
    answer = Response(_opened(messages), mimetype="text/event-stream")
    answer.call_on_close(feed.give_back_seat)
    # nginx would hold messages back until its buffer is full.
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _opened(messages: Callable[[], Iterator[str]]) -> Iterator[str]:
    yield _OPENING
    yield from messages()
