"""The whole surface on one screen, and its documentation at /openapi.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask_smorest import Api, Blueprint
from marshmallow import Schema

from api import answers, events, health, jobs, logs, nodes, queries, queues, tasks
from engine import __version__
from engine.jobspec.schema import TaskSchema


@dataclass(frozen=True)
class Route:
    """A path, the view that answers, and the shapes of question and answer."""

    methods: str
    paths: tuple[str, ...]
    view: Callable[..., Any]
    #: What the answer is; None: a text of the kind `media`.
    answer: Schema | None
    status: int = 200
    media: str = "text/event-stream"
    #: What may stand behind the question mark.
    query: type[Schema] | None = None
    #: What the body is.
    body: type[Schema] | None = None


ROUTES = (
    Route("POST", ("/task", "/tasks"), tasks.submit_task, answers.TaskAnswer(), 201, body=TaskSchema),
    Route("GET", ("/task/<id>", "/tasks/<id>"), tasks.get_task, answers.TaskAnswer()),
    Route("PUT", ("/tasks/<id>/cancel",), tasks.cancel_task, answers.Status()),
    Route("GET", ("/tasks/<id>/log",), logs.get_log, answers.LogPage(), query=queries.Log),
    Route("GET", ("/jobs",), jobs.list_jobs, answers.JobPage(), query=queries.JobList),
    Route("GET", ("/jobs/<id>",), jobs.get_job, answers.JobAnswer()),
    Route("PUT", ("/jobs/<id>/cancel",), jobs.cancel_job, answers.Status()),
    Route("GET", ("/events",), events.stream_events, None, query=queries.Events),
    Route("GET", ("/nodes",), nodes.list_nodes, answers.NodeAnswer(many=True)),
    Route("GET", ("/nodes/<id>",), nodes.get_node, answers.BusyNode()),
    Route("PUT", ("/nodes/<id>/drain",), nodes.drain_node, answers.NodeAnswer()),
    Route("GET", ("/queues",), queues.list_queues, answers.QueueAnswer(many=True)),
    Route("GET", ("/health",), health.health, answers.Status()),
    Route("GET", ("/status",), health.status, answers.Status()),
    Route("GET", ("/ready",), health.ready, answers.Ready()),
    Route("GET", ("/metrics",), health.get_metrics, None, media="text/plain"),
)

_BODIES = ("text/yaml", "application/yaml", "application/x-yaml", "application/json")


class _Documented(Api):
    """flask-smorest's OpenAPI, with our own shape of errors."""

    ERROR_SCHEMA = answers.Problem

    def _register_error_handlers(self) -> None:
        """api.errors answers them all."""


def install(app: Flask) -> None:
    """Put every route into the app, documented."""
    app.config.update(
        API_TITLE="Ferryman",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
    )
    surface = Blueprint("surface", "api", description="Tasks, jobs, logs, events")
    for route in ROUTES:
        view = _documented(surface, route)
        for path in route.paths:
            endpoint = f"{route.view.__name__}{route.paths.index(path) or ''}"
            surface.add_url_rule(path, endpoint, view, methods=[route.methods])
    _Documented(app).register_blueprint(surface)


def _documented(surface: Blueprint, route: Route) -> Callable[..., Any]:
    view = route.view
    if route.query is not None:
        view = surface.arguments(route.query, location="query", unknown=None, error_status_code=400)(view)
    if route.body is not None:
        view = surface.doc(requestBody=_body(route.body, _BODIES))(view)
    if route.answer is None:
        return surface.response(route.status, content_type=route.media)(view)
    return surface.response(route.status, route.answer)(view)


def _body(schema: type[Schema], kinds: Sequence[str]) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}
