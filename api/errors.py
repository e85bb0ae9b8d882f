"""Every error of the process as a problem: ours by kind, HTTP's by status, all else as 500 without a word of it."""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from api import feed, problem
from engine import errors
from engine.jobspec.problems import Invalid
from engine.lifecycle.cancel import AlreadyEnded
from engine.store.events import UnknownCursor

log = logging.getLogger("ferryman.api")

#: Seconds after which to ask again.
_SOON = {"Retry-After": "1"}
_STATUS: dict[type[Exception], int] = {
    errors.NotFound: 404,
    errors.Ambiguous: 409,
    AlreadyEnded: 409,
    UnknownCursor: 400,
}


def install(app: Flask) -> None:
    """Register the handlers. Bodies of requests are never logged: they may hold what nobody else may read."""
    app.register_error_handler(problem.Refused, lambda exc: problem.problem(exc.status, str(exc)))
    app.register_error_handler(Invalid, invalid)
    app.register_error_handler(errors.StoreUnavailable, store_unavailable)
    app.register_error_handler(
        feed.TooManyListeners, lambda exc: problem.problem(503, str(exc), headers=_SOON)
    )
    for kind, status in _STATUS.items():
        app.register_error_handler(kind, lambda exc, status=status: problem.problem(status, str(exc)))
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, defect)


def invalid(exc: Invalid) -> Response:
    """A text that is no task: 400 when it cannot be read, 422 when it asks for what cannot be."""
    count = len(exc.problems)
    detail = exc.problems[0].sentence if count == 1 else f"the task has {count} problems"
    return problem.problem(400 if exc.malformed else 422, detail, exc.as_json())


def store_unavailable(exc: errors.StoreUnavailable) -> Response:
    """The driver's words go to the log: they name hosts and users."""
    log.warning("%s %s: the database does not answer: %s", request.method, request.path, exc)
    detail = "the database does not answer; nothing was promised, the same request may be sent again"
    return problem.problem(503, detail, headers=_SOON)


def http_error(exc: HTTPException) -> Response | HTTPException:
    """HTTP's own refusals, in words of ours where we know better; redirects as they are."""
    status = exc.code or 500
    if status < 400:
        return exc
    if isinstance(exc, NotFound):
        return problem.problem(
            404, f"there is nothing at {request.path[:200]!r}: GET /openapi.json lists all"
        )
    if isinstance(exc, RequestEntityTooLarge):
        most = request.max_content_length
        return problem.problem(
            413, f"the body is too large, at most {most} bytes are read (FERRYMAN_BODY_BYTES)"
        )
    if isinstance(exc, MethodNotAllowed):
        allowed = ", ".join(sorted(exc.valid_methods or ()))
        return problem.problem(
            405, f"{request.method} is not for this path; it takes {allowed}", headers={"Allow": allowed}
        )
    if isinstance(said := getattr(exc, "data", None), dict) and "messages" in said:
        return parameters(status, said["messages"])
    return problem.problem(status, exc.description or exc.name)


def parameters(status: int, messages: dict[str, dict[str, list[str]]]) -> Response:
    """What is wrong behind the question mark: webargs's messages, parameter by parameter."""
    found = [
        {"path": name, "message": text, "hint": "GET /openapi.json lists the parameters"}
        for place in messages.values()
        for name, texts in place.items()
        for text in texts
    ]
    sentence = "; ".join(f"{one['path']}: {one['message']}" for one in found)
    return problem.problem(status, sentence[:500], found[:20])


def defect(exc: Exception) -> Response:
    """A defect of ours: its trace is for the log."""
    log.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem.problem(500, "this is a defect of Ferryman; the API's log has its trace")
