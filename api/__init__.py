"""The REST API: parse, guard, call one verb or one query, answer. No view is longer than ten lines.

Served by gunicorn with threads (`api:create_app()`): the app and its threads are made in the worker process,
after the fork. It speaks to the database; what goes to the broker goes through engine.dispatch, in a thread
of its own: no request ever waits for the broker. It knows neither Celery nor Docker.
"""

from __future__ import annotations

from flask import Flask

from api import context, errors, guard, routes
from api.dashboard import pages
from engine.settings import Settings, refuse_outside
from engine.telemetry import logging


def create_app(settings: Settings | None = None, *, background: bool = True) -> Flask:
    """The app over this database, ready to serve. Settings come from the environment unless given.

    `background` starts what every API process does besides: log lines, the flusher, the reconciler.
    Raises SettingsError, StoreUnavailable, SchemaMismatch: better no API than one that promises in vain.
    """
    told = settings or Settings.from_env()
    refuse_outside(told.api.host)
    if background:
        logging.configure(told.log_level)
    app = Flask("api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = told.api.body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    built = context.build(told)
    app.extensions["ferryman"] = built
    guard.install(app, told.api)
    errors.install(app)
    routes.install(app)
    app.register_blueprint(pages.blueprint)
    built.feed.start()
    if background:
        context.start_background(built)
    context.end_streams_on_signal(built)
    return app
