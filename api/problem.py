"""Form of every error answer: application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, json

from engine.errors import FerrymanError


class RequestRefused(FerrymanError):
    """Refusal of a request; the message says what was found and what to do about it."""

    def __init__(
        self, status: int, found: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{found}: {remedy}")
        self.status = status
        self.headers = headers


def problem(
    status: int, detail: str, errors: Sequence[dict[str, Any]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer; each of `errors` has path, line, column, message and hint."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return Response(json.dumps(body) + "\n", status, content_type="application/problem+json", headers=headers)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
