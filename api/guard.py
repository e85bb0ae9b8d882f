"""Guards against DNS rebinding, foreign forms and cross-site requests, and security headers for every answer.

Without them a foreign web page could run containers on the laptop of its reader.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, request

from api.problem import RequestRefused
from engine.settings import ApiSettings

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def install(app: Flask, settings: ApiSettings) -> None:
    """Check every request, and set the headers of every answer where its view has not set them."""
    names = frozenset(name.lower() for name in settings.hosts)

    @app.before_request
    def guard() -> None:
        check_host(request.environ.get("HTTP_HOST", ""), names)
        if request.method not in _SAFE_METHODS:
            check_origin()

    @app.after_request
    def secure(answer: Response) -> Response:
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer


def check_host(host: str, names: frozenset[str]) -> None:
    """Check that the Host header, without its port, is one of these names. Raises RequestRefused (400)."""
    name = host.lower()
    if not name.endswith("]"):
        before, colon, port = name.rpartition(":")
        name = before if colon and port.isdecimal() and port.isascii() else name
    if name not in names:
        found = f"host name {host[:80]!r} is not allowed"
        raise RequestRefused(400, found, "use localhost, or add the name to FERRYMAN_ALLOWED_HOSTS")


def check_origin() -> None:
    """Check that a request that changes something is not cross-origin. Raises RequestRefused (403)."""
    origin = request.headers.get("Origin")
    same = origin is None or urlsplit(origin).netloc.lower() == request.environ.get("HTTP_HOST", "").lower()
    if not same or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        source = "" if origin is None else f" from {origin[:80]!r}"
        remedy = "send it from a page of this API, or with a client such as curl"
        raise RequestRefused(403, f"cross-origin request{source} refused", remedy)
