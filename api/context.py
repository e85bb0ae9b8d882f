"""Context of the API: what the views of one process share, and the threads of the process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

from flask import Flask, current_app

from api.feed import Feed
from api.metrics import Metrics
from api.turns import Turns
from engine.errors import BrokerUnavailable, FerrymanError, StoreUnavailable
from engine.jobspec import host_access
from engine.jobspec.task import HostAccess
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.settings import Settings
from engine.store.database import Database
from engine.telemetry.patience import wait_for

log = logging.getLogger("ferryman.api")

#: gunicorn's WORKER_BOOT_ERROR: when a worker exits with this code, gunicorn stops and starts no other worker.
_EXIT_STOPPING_GUNICORN = 3
#: The context's name among the app's extensions.
_NAME = "ferryman"
#: A start waits this long for the database before the process serves without it.
_SOON_SECONDS = 3.0

Handler = Callable[[int, FrameType | None], Any]


@dataclass(frozen=True)
class ApiContext:
    """Installation, host access and feed that the views of one process share."""

    installation: Installation
    host_access: HostAccess
    feed: Feed
    metrics: Metrics
    turns: Turns


def get_context() -> ApiContext:
    """Return the context of the current app. Raises StoreUnavailable before the database has answered once."""
    context = current_app.extensions.get(_NAME)
    if context is None:
        raise StoreUnavailable("it has not answered since this process started")
    return cast(ApiContext, context)


def installation_id() -> str:
    """Return the installation of the current app, "" before the database has answered once."""
    context = cast(ApiContext | None, current_app.extensions.get(_NAME))
    return context.installation.id if context else ""


def get_caller() -> Caller:
    """Return the caller of the verbs of this request: always the same user, because nobody signs in."""
    return Caller("user", "anonymous")


def _create(settings: Settings, turns: Turns) -> ApiContext:
    # A request holds a connection for milliseconds; more than 8 requests at the same time wait for one another.
    db = Database(settings.store, pool=8)
    try:
        installation = Installation(db, settings, db.open())
    except FerrymanError:
        db.close()
        raise
    allowed = host_access.host_access_of(settings.runtime, settings.private_places)
    return ApiContext(installation, allowed, Feed(db, settings.api.sse_clients), Metrics(db), turns)


def open_now(app: Flask, settings: Settings, turns: Turns) -> None:
    """Open the database and start the feed. Raises StoreUnavailable, SchemaMismatch, SettingsError."""
    context = _create(settings, turns)
    context.feed.start()
    app.extensions[_NAME] = context


def open_in_background(app: Flask, settings: Settings, turns: Turns) -> None:
    """Open the database, then start the feed, the flusher and the reconciler; wait a moment for the end of this.

    A database that is late is waited for in a thread, without a bound: meanwhile the process answers /health, and 503
    to whatever needs the database. Raises WrongInstallation, SchemaMismatch, SettingsError, StoreRefused.
    """
    opening = _Opening(app, settings, turns)
    opening.start()
    opening.join(_SOON_SECONDS)
    opening.serve()


class _Opening(threading.Thread):
    """Thread that opens the database of an app, however late it answers."""

    def __init__(self, app: Flask, settings: Settings, turns: Turns) -> None:
        super().__init__(name="opening", daemon=True)
        self._app, self._settings, self._turns = app, settings, turns
        #: Guards the two attributes below.
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._is_serving = False

    def run(self) -> None:
        try:
            context = wait_for(
                "the database", lambda: _create(self._settings, self._turns), log.warning, None
            )
            start_background(context)
            context.feed.start()
            self._app.extensions[_NAME] = context
        except BaseException as exc:  # noqa: BLE001 - the main thread raises it, or the process ends by it
            with self._lock:
                self._error = exc
                if self._is_serving:
                    _end_process(exc)

    def serve(self) -> None:
        """Raise the error of the thread; a later one ends the process."""
        with self._lock:
            if self._error is not None:
                raise self._error
            self._is_serving = True


def start_background(context: ApiContext) -> None:
    """Start the flusher and the reconciler, which move submitted work.

    Raises WrongInstallation. Serves without a broker too: rows wait until the broker is back.
    """
    # Only a process that publishes loads Celery.
    from engine.dispatch.flusher import Flusher
    from engine.dispatch.queues import Broker
    from engine.reconcile import lanes

    installation = context.installation
    broker = Broker(installation.settings.broker)
    try:
        broker.claim_for(installation.id)
    except BrokerUnavailable as exc:
        log.warning("the broker does not answer; submitted tasks wait until it does: %s", exc)
    finally:
        broker.close()
    Flusher(installation.db, installation.settings.broker).start()
    lanes.start(installation, _end_process)


def _end_process(exc: BaseException) -> None:
    """End the process: its broker belongs to another installation, or its database cannot be used."""
    log.critical("%s", exc, exc_info=None if isinstance(exc, FerrymanError) else exc)
    os._exit(_EXIT_STOPPING_GUNICORN)


def end_streams_on_signal(app: Flask) -> None:
    """Make the signals of a graceful stop end the open streams, which would otherwise delay it.

    gunicorn stops its worker process by a signal and does not tell the app, so our handlers wrap gunicorn's.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def end_streams() -> None:
        if (context := app.extensions.get(_NAME)) is not None:
            context.feed.end()

    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        handler = signal.getsignal(number)
        # Python's own handler, or none, means that no server with a graceful stop runs here.
        if callable(handler) and handler is not signal.default_int_handler:
            signal.signal(number, _wrap(handler, end_streams))
            # As gunicorn does: SIGTERM does not interrupt the system calls of a running request.
            signal.siginterrupt(number, number != signal.SIGTERM)


def _wrap(handler: Handler, end_streams: Callable[[], None]) -> Handler:
    def handle(number: int, frame: FrameType | None) -> Any:
        end_streams()
        return handler(number, frame)

    return handle
