"""Body of a request as bytes of YAML or JSON, according to its Content-Type; the type is never guessed."""

from __future__ import annotations

import contextlib
from socket import SHUT_RD

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import parse_options_header

from api.problem import RequestRefused
from engine.jobspec.document import Media

_MEDIA: dict[str, Media] = {
    "text/yaml": "yaml",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "application/json": "json",
}
#: Longest wait for the next part of a body.
READ_SECONDS = 10.0
_USE_HEADER = "add curl's -H 'Content-Type: text/yaml' (or application/json)"


def read() -> tuple[bytes, Media]:
    """Return the body and its media.

    Raises RequestRefused: 400 for an empty or malformed body, 408 when the body stops arriving, 415 for another type,
    charset or encoding. Raises werkzeug's 413 for more than MAX_CONTENT_LENGTH, with or without a length.
    """
    text = _read_all()
    if not text:
        raise RequestRefused(400, "the body is empty", "send the file with curl's --data-binary @file")
    return text, media()


def _read_all() -> bytes:
    # gunicorn waits for a body without any time-out, and one of its threads waits too.
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return request.get_data(cache=False)
    connection.settimeout(READ_SECONDS)
    try:
        return request.get_data(cache=False)
    except (TimeoutError, ClientDisconnected, ParseException) as exc:
        # After the shutdown nobody waits for the rest of the body. The connection may be closed already.
        with contextlib.suppress(OSError):
            connection.shutdown(SHUT_RD)
        # werkzeug raises ClientDisconnected for a time-out too, while it handles that.
        if not isinstance(exc, TimeoutError) and not isinstance(exc.__context__, TimeoutError):
            found = "the body ends early, or its chunks are malformed"
            raise RequestRefused(400, found, "send the file with curl's --data-binary @file") from None
        found = f"the body arrives too slowly: no part for {READ_SECONDS:g} s, or less than 1 MiB in a minute"
        raise RequestRefused(408, found, "send the request again") from None
    finally:
        connection.settimeout(None)


def media() -> Media:
    """Return the media that the headers name. Raises RequestRefused (415)."""
    header = request.headers.get("Content-Type", "")
    content_type, options = parse_options_header(header)
    charset = options.get("charset", "utf-8")
    encoding = request.headers.get("Content-Encoding", "identity")
    if not header:
        raise RequestRefused(415, "Content-Type header is missing", _USE_HEADER)
    if content_type.lower() not in _MEDIA:
        raise RequestRefused(415, f"Content-Type {content_type[:80]!r} is not supported", _USE_HEADER)
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        remedy = "save the file as UTF-8 and send no charset"
        raise RequestRefused(415, f"charset {charset[:40]!r} is not supported", remedy)
    if encoding.lower() != "identity":
        found = f"Content-Encoding {encoding[:40]!r} is not supported"
        raise RequestRefused(415, found, "send the body uncompressed, without this header")
    return _MEDIA[content_type.lower()]
