"""What the views of one process share: settings, database, doors, the feed of events; and its threads."""

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
from engine.errors import BrokerUnavailable, WrongInstallation
from engine.jobspec import host_access
from engine.jobspec.task import HostAccess
from engine.lifecycle.installation import Installation
from engine.settings import Settings
from engine.store.database import Database

log = logging.getLogger("ferryman.api")

#: gunicorn ends as a whole, and starts no other worker, when one exits so (its WORKER_BOOT_ERROR).
_HALT = 3


@dataclass(frozen=True)
class ApiContext:
    """What the views of one process share."""

    settings: Settings
    db: Database
    #: The installation that this database is.
    installation: str
    host_access: HostAccess
    feed: Feed
    metrics: Metrics


def get_context() -> ApiContext:
    """The context of the app that answers now."""
    return cast(ApiContext, current_app.extensions["ferryman"])


def build(settings: Settings) -> ApiContext:
    """Open the database and make what views share; starts no thread."""
    # A request holds a connection for milliseconds; more at once than this wait for one another.
    db = Database(settings.store, pool=8)
    installation = db.open()
    allowed = host_access.host_access_from(
        settings.runtime.bind_sources,
        settings.runtime.networks,
        settings.data_dir,
        settings.runtime.docker_host,
    )
    return ApiContext(settings, db, installation, allowed, Feed(db, settings.api.sse_clients), Metrics(db))


def start_background(context: ApiContext) -> None:
    """Start what makes submitted work move: the thread that sends, and the repairs.

    Raises WrongInstallation. A broker that is away is no reason not to serve: rows wait until it is back.
    """
    # Only a process that sends loads Celery.
    from engine.dispatch.flusher import Flusher
    from engine.dispatch.queues import Broker
    from engine.reconcile import loop

    broker = Broker(context.settings.broker)
    try:
        broker.claim_for(context.installation)
    except BrokerUnavailable as exc:
        log.warning("the broker is away, what is submitted waits: %s", exc)
    finally:
        broker.close()
    Flusher(context.db, context.settings.broker).start()
    loop.start(Installation(context.db, context.settings, context.installation), _end_process)


def _end_process(exc: WrongInstallation) -> None:
    """The broker became another installation's: nothing may be sent there any more."""
    log.critical("%s", exc)
    os._exit(_HALT)


def end_streams_on_signal(context: ApiContext) -> None:
    """Let a graceful stop end the open streams, which would otherwise hold it up.

    gunicorn tells a worker by a signal, and the app nothing: so its handler is called through ours.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        before = signal.getsignal(number)
        # Python's own handler, or none: no server that stops in order.
        if callable(before) and before is not signal.default_int_handler:
            signal.signal(number, _ended_first(context.feed.end, before))
            # As gunicorn has it: a request that is being answered is not interrupted in a system call.
            signal.siginterrupt(number, number != signal.SIGTERM)


def _ended_first(
    end: Callable[[], None], before: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], Any]:
    def handle(number: int, frame: FrameType | None) -> Any:
        end()
        return before(number, frame)

    return handle
