"""The body of a request as bytes of YAML or JSON, by its Content-Type; nothing is guessed."""

from __future__ import annotations

from flask import request
from werkzeug.http import parse_options_header

from api.problem import Refused
from engine.jobspec.document import Media

_MEDIA: dict[str, Media] = {
    "text/yaml": "yaml",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "application/json": "json",
}
_HEADER = "add the header: curl -H 'Content-Type: text/yaml' (or application/json)"


def read() -> tuple[bytes, Media]:
    """The body and its kind.

    Raises Refused: 400 when it is empty, 415 when it is of another kind, charset or compressed; werkzeug's
    413 when it is longer than MAX_CONTENT_LENGTH, which also ends a body without a length.
    """
    text = request.get_data(cache=False)
    if not text:
        raise Refused(400, "the body is empty", "send the file with curl's --data-binary @file")
    return text, media()


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
