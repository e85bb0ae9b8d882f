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

from flask import current_app

from api.feed import Feed
from api.metrics import Metrics
from api.turns import Turns
from engine.errors import BrokerUnavailable, WrongInstallation
from engine.jobspec import host_access
from engine.jobspec.task import HostAccess
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.settings import Settings
from engine.store.database import Database

log = logging.getLogger("ferryman.api")

#: gunicorn's WORKER_BOOT_ERROR: when a worker exits with this code, gunicorn stops and starts no other worker.
_EXIT_STOPPING_GUNICORN = 3

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
    """Return the context of the current app."""
    return cast(ApiContext, current_app.extensions["ferryman"])


def get_caller() -> Caller:
    """Return the caller of the verbs of this request: always the same user, because nobody signs in."""
    return Caller("user", "anonymous")


def create(settings: Settings) -> ApiContext:
    """Open the database and create the context; starts no thread."""
    # A request holds a connection for milliseconds; more than 8 requests at the same time wait for one another.
    db = Database(settings.store, pool=8)
    installation = Installation(db, settings, db.open())
    allowed = host_access.host_access_of(settings.runtime, settings.private_places)
    return ApiContext(installation, allowed, Feed(db, settings.api.sse_clients), Metrics(db), Turns())


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


def _end_process(exc: WrongInstallation) -> None:
    """End the process: the broker now belongs to another installation, so nothing may be published there."""
    log.critical("%s", exc)
    os._exit(_EXIT_STOPPING_GUNICORN)


def end_streams_on_signal(context: ApiContext) -> None:
    """Make the signals of a graceful stop end the open streams, which would otherwise delay it.

    gunicorn stops its worker process by a signal and does not tell the app, so our handlers wrap gunicorn's.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        handler = signal.getsignal(number)
        # Python's own handler, or none, means that no server with a graceful stop runs here.
        if callable(handler) and handler is not signal.default_int_handler:
            signal.signal(number, _wrap(handler, context.feed.end))
            # As gunicorn does: SIGTERM does not interrupt the system calls of a running request.
            signal.siginterrupt(number, number != signal.SIGTERM)


def _wrap(handler: Handler, end_streams: Callable[[], None]) -> Handler:
    def handle(number: int, frame: FrameType | None) -> Any:
        end_streams()
        return handler(number, frame)

    return handle
