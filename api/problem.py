"""The one shape of every refusal: application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, json

from engine.errors import FerrymanError


class Refused(FerrymanError):
    """A request that is not carried out: HTTP status, what is wrong, and what to do about it."""

    def __init__(self, status: int, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.status = status


def problem(
    status: int, detail: str, errors: Sequence[dict[str, Any]] = (), headers: dict[str, str] | None = None
) -> Response:
    """The answer. `errors` are path, line, column, message and hint of each single problem."""
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
