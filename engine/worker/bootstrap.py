"""What Celery imports in a worker: registers run_link, and ties our threads to the worker's signals.

In order: `celeryd_init` gives the process a name of its own; `worker_init` opens database, broker and daemon
(or ends the process with a sentence) and adds the node's queue; `worker_ready` starts the threads.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from typing import Any

from celery import signals
from celery.utils.nodenames import default_nodename

from engine.dispatch import control
from engine.dispatch.flusher import Flusher
from engine.dispatch.queues import Broker
from engine.errors import BrokerUnavailable, FerrymanError, WrongInstallation
from engine.jobspec.host_access import host_access_from
from engine.lifecycle.installation import Installation
from engine.reconcile import loop
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import BrokerSettings, Settings, without_password
from engine.store.database import Database
from engine.telemetry.logging import configure
from engine.worker.context import WorkerContext, get_context, set_context
from engine.worker.daemon.sandbox_pool import SandboxPool
from engine.worker.daemon.sweeper import Sweeper
from engine.worker.execute.task import run_link
from engine.worker.intake.consumer import Window
from engine.worker.intake.watchdog import Watchdog
from engine.worker.node.shutdown import Shutdown
from engine.worker.node.threads import NodeThreads, new_id
from engine.worker.running import RunningLinks

#: Imported for its registration as Celery's task.
__all__ = ["run_link"]

log = logging.getLogger("ferryman.worker")

#: The id of this process's first node, part of its name.
_BOOT_ID = new_id()
_EXIT_CONFIG = 78


@signals.celeryd_init.connect
def _name_this_worker(sender: str, instance: Any, conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Two plain workers on one host must not be one to `celery inspect`."""
    instance.app.steps["consumer"].add(Window)
    if instance.hostname == default_nodename(None):
        instance.hostname = f"celery-{_BOOT_ID[:6]}@{socket.gethostname()}"
    pool = options.get("pool_cls") or conf.worker_pool
    if "thread" not in str(getattr(pool, "__module__", pool)):
        _end("containers are waited for, not computed: start the worker without -P, or with -P threads")


@signals.setup_logging.connect
def _log_as_ours(loglevel: Any = None, **_: Any) -> None:
    # Celery's own lines by its --loglevel, ours by FERRYMAN_LOG_LEVEL: what a node joins is worth a line.
    configure(loglevel or "WARNING", Settings.from_env().log_level)


@signals.worker_init.connect
def _open(sender: Any, **_: Any) -> None:
    instance = sender
    try:
        settings = Settings.from_env()
        db = Database(settings.store, pool=instance.concurrency + 8)
        installation = Installation(db, settings, db.open())
        _match_broker(settings.broker, installation.id)
        host_access = host_access_from(
            settings.runtime.bind_sources,
            settings.runtime.networks,
            settings.data_dir,
            settings.runtime.docker_host,
        )
        runtime = DockerRuntime(settings.runtime, settings.path, installation.id, host_access)
    except FerrymanError as exc:
        _end(str(exc))
    queues = tuple(sorted(instance.app.amqp.queues.consume_from))
    doubt, running = threading.Event(), RunningLinks()
    sandboxes = SandboxPool(
        runtime.sandboxes, running, settings.runtime, installation.id, instance.concurrency
    )
    context = WorkerContext(
        installation=installation,
        runtime=runtime,
        sweeper=Sweeper(installation, runtime, sandboxes, doubt),
        sandboxes=sandboxes,
        doubt=doubt,
        flusher=Flusher(db, settings.broker, instance.app),
        running=running,
        name=instance.hostname,
        queues=queues,
        slots=instance.concurrency,
        node_id=_BOOT_ID,
    )
    set_context(context)
    control.answer_by(context.describe)
    instance.app.amqp.queues.select_add(context.own_queue)


def _match_broker(settings: BrokerSettings, installation: str) -> None:
    broker = Broker(settings)
    try:
        broker.claim_for(installation)
    except BrokerUnavailable as exc:
        # Celery waits for it; the check is made again by the reconciler when it is back.
        log.warning("%s", exc)
    finally:
        broker.close()


def _end(sentence: str) -> None:
    """Leave before anything was taken."""
    print(f"ferryman worker: {sentence}", file=sys.stderr, flush=True)
    os._exit(_EXIT_CONFIG)


@signals.worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    context = get_context()
    settings = context.installation.settings
    log.info(
        "joined installation %s: database %s, broker %s",
        context.installation.id,
        without_password(settings.store.database_url),
        without_password(settings.broker.broker_url),
    )
    threads = NodeThreads(context)
    leaving = Shutdown(context, threads)
    signals.worker_shutting_down.connect(leaving.on_signal, weak=False)
    # Celery's own handlers of these would wait for the threads, or end in a traceback.
    signal.signal(signal.SIGQUIT, leaving.on_quit)
    signal.signal(signal.SIGINT, leaving.on_interrupt)
    signal.signal(signal.SIGHUP, leaving.on_hangup)
    context.flusher.start()
    context.sweeper.start()
    context.sandboxes.start()
    threads.start()
    loop.start(context.installation, lost=_wrong)
    Watchdog(sender, context).start()


def _wrong(exc: WrongInstallation) -> None:
    """The broker that came back is another installation's."""
    _end(str(exc))
