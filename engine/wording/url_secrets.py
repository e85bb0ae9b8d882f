"""Secrets in the URLs of a text, struck out before the text is shown."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
_STRUCK = "***"
#: User and password of a URL, as far as a password may be written without escapes.
_USER = re.compile(r"([^:/?#@\s]*):(.*)", re.DOTALL)
#: Port, path and query of a URL without a user: an @ in the query ends no password.
_PLACE = re.compile(r"\d*(/[^?]*)?\?.*", re.DOTALL)
_PARAMETER = re.compile(r"([?&;#])([^=&;#?\s]{1,200})=([^&;#\s]*)")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|auth|signature|(api|access|private).?key")


def without_password(text: str) -> str:
    """Return the text with *** for each password and token in its URLs, in user information and in queries.

    A password may hold characters that a URL would have to escape, an @ too.
    """
    if "://" not in text:
        return text
    begins = [match.end() for match in _SCHEME.finditer(text)]
    parts = [text[: begins[0]]] if begins else [text]
    for begin, end in zip(begins, [*begins[1:], len(text)], strict=True):
        parts.append(_struck(text[begin:end]))
    return "".join(parts)


def _struck(url: str) -> str:
    """Return what follows a scheme, up to the next URL, without secrets."""
    return _PARAMETER.sub(_without_value, _without_user_password(url))


def _without_user_password(url: str) -> str:
    if (match := _USER.match(url)) is None:
        return url
    user, rest = match[1], match[2]
    run = re.match(r"\S*", rest)
    at = run[0].rfind("@") if run else -1
    if at < 0 and not re.match(r"\d*([/?#\s]|$)", rest):
        # No port: a password with a space in it.
        at = rest.rfind("@")
    if at < 0 or (user and _PLACE.fullmatch(rest[:at])):
        return url
    return f"{user}:{_STRUCK}{rest[at:]}"


def _without_value(match: re.Match[str]) -> str:
    mark, name, value = match[1], match[2], match[3]
    is_secret = value and _SECRET_NAME.search(unquote_plus(name).lower())
    return f"{mark}{name}={_STRUCK}" if is_secret else match[0]
