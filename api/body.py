"""The body of a request as bytes of YAML or JSON, by its Content-Type; nothing is guessed."""

from __future__ import annotations

import contextlib
from socket import SHUT_RD

from flask import request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import parse_options_header

from api.problem import Refused
from engine.jobspec.document import Media

_MEDIA: dict[str, Media] = {
    "text/yaml": "yaml",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "application/json": "json",
}
#: The next piece of a body must come within this time.
PIECE_SECONDS = 10.0
_HEADER = "add the header: curl -H 'Content-Type: text/yaml' (or application/json)"


def read() -> tuple[bytes, Media]:
    """The body and its kind.

    Raises Refused: 400 when it is empty, 415 when it is of another kind, charset or compressed; werkzeug's
    413 when it is longer than MAX_CONTENT_LENGTH, which also ends a body without a length; 408 when the rest
    does not come.
    """
    text = _whole()
    if not text:
        raise Refused(400, "the body is empty", "send the file with curl's --data-binary @file")
    return text, media()


def _whole() -> bytes:
    # gunicorn waits for a body as long as its sender likes, and a thread waits with it.
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return request.get_data(cache=False)
    connection.settimeout(PIECE_SECONDS)
    try:
        return request.get_data(cache=False)
    except (TimeoutError, ClientDisconnected):
        # Nothing more is read from it, so nobody waits for the rest. It may be gone already.
        with contextlib.suppress(OSError):
            connection.shutdown(SHUT_RD)
        raise Refused(408, f"the body stopped coming for {PIECE_SECONDS:g} s", "send it again") from None
    finally:
        connection.settimeout(None)


def media() -> Media:
    """What the headers say the body is. Raises Refused (415)."""
    header = request.headers.get("Content-Type", "")
    kind, options = parse_options_header(header)
    found = _MEDIA.get(kind.lower())
    if not header:
        raise Refused(415, "the body's kind is not said", _HEADER)
    if found is None:
        raise Refused(415, f"a body of kind {kind[:80]!r} is not read", _HEADER)
    if options.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Refused(
            415,
            f"charset {options['charset'][:40]!r} is not read",
            "save the file as UTF-8 and say no charset",
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "a compressed body is not read", "send it as it is, without Content-Encoding")
    return found
