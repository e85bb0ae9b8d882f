"""REST API and dashboard: parse, guard, call one verb or one query, answer. No view is longer than ten lines.

gunicorn serves it with threads (`api:create_app()`): the app and its threads are made in the worker process,
after the fork. The API speaks to the database; engine.dispatch publishes to the broker in a thread of its own,
so no request ever waits for the broker. The API knows neither Celery nor Docker.
"""

from __future__ import annotations

from flask import Flask

from api import access, context, errors, guard, routes, turns
from api.dashboard import pages
from engine.settings import Settings, refuse_outside
from engine.telemetry import logging


def create_app(settings: Settings | None = None, *, background: bool = True) -> Flask:
    """Create the app over the database of these settings, ready to serve; default: settings of the environment.

    `background` also starts the rest of an API process: logging, the flusher, the reconciler. Such a process serves
    before its database answers, with 503. Raises SettingsError, StoreUnavailable, SchemaMismatch, WrongInstallation.
    """
    settings = settings or Settings.from_env()
    refuse_outside(settings.api.host)
    if background:
        logging.configure(settings.log_level)
    app = Flask("api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.api.body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    guard.install(app, settings.api)
    access.install(app, settings.api)
    process_turns = turns.Turns()
    turns.install(app, process_turns)
    errors.install(app)
    routes.install(app)
    app.register_blueprint(pages.blueprint)
    if background:
        context.open_in_background(app, settings, process_turns)
    else:
        context.open_now(app, settings, process_turns)
    context.end_streams_on_signal(app)
    return app
