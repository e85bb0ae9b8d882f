"""Who may ask: names that this API answers to, no page of a foreign origin; and headers for every answer.

No web page can run containers on somebody's laptop (DNS rebinding, forms, cross-site requests).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, request

from api.problem import Refused
from engine.settings import ApiSettings

_READING = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def install(app: Flask, settings: ApiSettings) -> None:
    """Ask before every request, and set the headers after it (a view's own stand)."""
    names = frozenset(name.lower() for name in settings.hosts)

    @app.before_request
    def guard() -> None:
        check_host(request.environ.get("HTTP_HOST", ""), names)
        if request.method not in _READING:
            check_origin()

    @app.after_request
    def secure(answer: Response) -> Response:
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer


def check_host(host: str, names: frozenset[str]) -> None:
    """Raises Refused (400) unless the Host header names this API; its port does not matter."""
    name = host.lower()
    if not name.endswith("]"):
        before, colon, port = name.rpartition(":")
        name = before if colon and port.isdecimal() and port.isascii() else name
    if name not in names:
        raise Refused(
            400,
            f"this API does not answer to the host name {host[:80]!r}",
            "add it to FERRYMAN_ALLOWED_HOSTS",
        )


def check_origin() -> None:
    """Raises Refused (403) when a page of another origin asks to change something."""
    origin = request.headers.get("Origin")
    same = origin is None or urlsplit(origin).netloc.lower() == request.environ.get("HTTP_HOST", "").lower()
    if not same or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Refused(
            403,
            f"a page of {str(origin)[:80]!r} may change nothing here",
            "ask from this API's own pages, or without a browser",
        )
