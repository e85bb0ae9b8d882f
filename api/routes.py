"""Routes of the REST API on one screen, and their documentation at /openapi.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from flask import Flask
from flask_smorest import Api, Blueprint
from marshmallow import Schema

from api import answers, events, health, jobs, logs, nodes, queries, queues, tasks
from engine import __version__
from engine.jobspec.schema import TaskSchema

View = Callable[..., Any]


@dataclass(frozen=True)
class Route:
    """A method and its paths, the view that answers, and the schemas of request and answer."""

    method: str
    paths: tuple[str, ...]
    view: View
    #: Schema of the answer; None: text of the type `media`.
    answer: Schema | None
    status: int = 200
    media: str = "text/event-stream"
    query: type[Schema] | None = None
    body: type[Schema] | None = None


ROUTES = (
    Route("POST", ("/task", "/tasks"), tasks.submit_task, answers.TaskAnswer(), 201, body=TaskSchema),
    Route("GET", ("/task/<id>", "/tasks/<id>"), tasks.get_task, answers.TaskAnswer()),
    Route("PUT", ("/tasks/<id>/cancel",), tasks.cancel_task, answers.Status()),
    Route(
        "GET", ("/task/<id>/log", "/tasks/<id>/log"), logs.get_log, answers.LogPage(), query=queries.LogQuery
    ),
    Route("GET", ("/jobs",), jobs.list_jobs, answers.JobPage(), query=queries.JobQuery),
    Route("GET", ("/jobs/<id>",), jobs.get_job, answers.JobAnswer()),
    Route("PUT", ("/jobs/<id>/cancel",), jobs.cancel_job, answers.Status()),
    Route("GET", ("/events",), events.stream_events, None, query=queries.EventQuery),
    Route("GET", ("/nodes",), nodes.list_nodes, answers.NodeAnswer(many=True)),
    Route("GET", ("/nodes/<id>",), nodes.get_node, answers.BusyNode()),
    Route("PUT", ("/nodes/<id>/drain",), nodes.drain_node, answers.NodeAnswer()),
    Route("GET", ("/queues",), queues.list_queues, answers.QueueAnswer(many=True)),
    Route("GET", ("/health",), health.health, answers.Status()),
    Route("GET", ("/status",), health.status, answers.Status()),
    Route("GET", ("/ready",), health.ready, answers.Ready()),
    Route("GET", ("/metrics",), health.get_metrics, None, media="text/plain"),
)

_BODY_TYPES = ("text/yaml", "application/yaml", "application/x-yaml", "application/json")


class _Documentation(Api):  # type: ignore[misc] # flask-smorest has no types
    """OpenAPI of flask-smorest, with the API's own form of errors."""

    ERROR_SCHEMA = answers.Problem

    def _register_error_handlers(self) -> None:
        """Register none: those of api.errors answer every error."""


def install(app: Flask) -> None:
    """Add every route to the app, with its documentation."""
    app.config.update(
        API_TITLE="Ferryman",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
    )
    blueprint = Blueprint("rest", "api", description="Tasks, jobs, logs, events")
    for route in ROUTES:
        view = _documented(blueprint, route)
        for number, path in enumerate(route.paths):
            endpoint = f"{route.view.__name__}{number or ''}"
            blueprint.add_url_rule(path, endpoint, view, methods=[route.method])
    _Documentation(app).register_blueprint(blueprint)


def _documented(blueprint: Blueprint, route: Route) -> View:
    view = route.view
    if route.query is not None:
        view = blueprint.arguments(route.query, location="query", unknown=None, error_status_code=400)(view)
    if route.body is not None:
        content = {media: {"schema": route.body} for media in _BODY_TYPES}
        view = blueprint.doc(requestBody={"required": True, "content": content})(view)
    answer = {"content_type": route.media} if route.answer is None else {"schema": route.answer}
    return cast(View, blueprint.response(route.status, **answer)(view))
