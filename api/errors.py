"""Handlers that answer every error as a problem: Ferryman's, HTTP's, and any other as a 500 without details."""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from api import feed
from api.problem import RequestRefused, problem
from api.turns import TooBusy
from engine import errors
from engine.jobspec.problems import Invalid
from engine.lifecycle.cancel import AlreadyEnded
from engine.store.events import UnknownCursor

log = logging.getLogger("ferryman.api")

#: Try again after this many seconds.
_RETRY_SOON = {"Retry-After": "1"}
_STATUS: dict[type[Exception], int] = {
    errors.NotFound: 404,
    errors.ShortId: 404,
    errors.Ambiguous: 409,
    AlreadyEnded: 409,
    UnknownCursor: 400,
}


def install(app: Flask) -> None:
    """Register the handlers. None of them logs the body of a request, which may hold secrets."""
    app.register_error_handler(RequestRefused, lambda exc: problem(exc.status, str(exc), headers=exc.headers))
    app.register_error_handler(Invalid, invalid)
    app.register_error_handler(errors.StoreUnavailable, store_unavailable)
    for refusal in (feed.TooManyStreams, TooBusy):
        app.register_error_handler(refusal, lambda exc: problem(503, str(exc), headers=_RETRY_SOON))
    for error, status in _STATUS.items():
        app.register_error_handler(error, lambda exc, status=status: problem(status, str(exc)))
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, defect)


def invalid(exc: Invalid) -> Response:
    """Answer an invalid task with all its problems: 400 for text that cannot be parsed, else 422."""
    count = len(exc.problems)
    detail = exc.problems[0].sentence if count == 1 else f"the task has {count} problems"
    return problem(400 if exc.malformed else 422, detail, exc.as_json())


def store_unavailable(exc: errors.StoreUnavailable) -> Response:
    """Answer 503. The driver's message goes to the log only, because it names hosts and users."""
    log.warning("%s %s: the database does not answer: %s", request.method, request.path, exc)
    if isinstance(exc, errors.StoreDamaged):
        return problem(
            503, "the database is damaged, so nothing is confirmed: its operator must restore a backup"
        )
    detail = "the database does not answer, so nothing is confirmed: send the same request again"
    return problem(503, detail, headers=_RETRY_SOON)


def http_error(exc: HTTPException) -> Response | HTTPException:
    """Answer werkzeug's error, with our own text where it says more; redirects pass unchanged."""
    status = exc.code or 500
    if status < 400:
        return exc
    if isinstance(exc, NotFound):
        return problem(404, f"path {request.path[:200]!r} does not exist: GET /openapi.json lists all paths")
    if isinstance(exc, RequestEntityTooLarge):
        most = request.max_content_length
        return problem(413, f"the body is larger than {most} bytes: send less, or raise FERRYMAN_BODY_BYTES")
    if isinstance(exc, MethodNotAllowed):
        allowed = ", ".join(sorted(exc.valid_methods or ()))
        detail = f"method {request.method} is not allowed for this path: use one of {allowed}"
        return problem(405, detail, headers={"Allow": allowed})
    if isinstance(webargs := getattr(exc, "data", None), dict) and "messages" in webargs:
        return invalid_parameters(status, webargs["messages"])
    return problem(status, exc.description or exc.name)


def invalid_parameters(status: int, messages: dict[str, dict[str, list[str]]]) -> Response:
    """Answer webargs' messages about the query, parameter by parameter."""
    entries = [
        {"path": name, "message": text, "hint": "GET /openapi.json lists the parameters"}
        for of_location in messages.values()
        for name, texts in of_location.items()
        for text in texts
    ]
    detail = "; ".join(f"{entry['path']}: {entry['message']}" for entry in entries)
    return problem(status, detail[:500], entries[:20])


def defect(exc: Exception) -> Response:
    """Answer 500 and log the traceback, which the answer does not show."""
    log.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem(500, "this is a defect in Ferryman: the API's log has the traceback")
