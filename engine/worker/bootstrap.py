"""Module that Celery imports in a worker: registers run_link and connects our threads to the worker's signals.

In order: `celeryd_init` gives the process a unique name; `worker_init` opens database, broker and daemon (or ends
the process with an error message) and adds the node's queue; `worker_ready` starts the threads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from celery import signals
from celery.utils.nodenames import default_nodename, node_format

from engine.dispatch import control
from engine.dispatch.flusher import Flusher
from engine.dispatch.queues import Broker
from engine.errors import FerrymanError, SettingsError
from engine.jobspec.host_access import host_access_of
from engine.lifecycle.installation import Installation
from engine.reconcile import lanes
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings, private, without_password
from engine.store.database import Database
from engine.telemetry.logging import configure
from engine.telemetry.patience import exit_status, wait_for
from engine.worker.context import WorkerContext, get_context, set_context
from engine.worker.daemon.disk import Disk
from engine.worker.daemon.output_watch import OutputWatch
from engine.worker.daemon.sandbox_pool import SandboxPool
from engine.worker.daemon.sweeper import Sweeper
from engine.worker.execute.task import run_link
from engine.worker.holds import Holds
from engine.worker.intake.consumer import Window
from engine.worker.intake.watchdog import Watchdog
from engine.worker.machine_faults import MachineFaults
from engine.worker.node.consumer_end import LeaveWithConsumer
from engine.worker.node.shutdown import Shutdown
from engine.worker.node.threads import NodeThreads, new_id
from engine.worker.options import check, check_queues
from engine.worker.running import RunningLinks

#: Imported for its registration as Celery's task.
__all__ = ["run_link"]

log = logging.getLogger("ferryman.worker")

#: Name of this worker, which a log file's name may contain.
_hostname = ""
#: The id of this process's first node, part of its name.
_BOOT_ID = new_id()


@signals.celeryd_init.connect
def _name_this_worker(sender: str, instance: Any, conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Give each worker of a host a name of its own, so that `celery inspect` can tell them apart."""
    instance.app.steps["consumer"].add(Window)
    instance.app.steps["worker"].add(LeaveWithConsumer)
    if instance.hostname == default_nodename(None):
        instance.hostname = f"celery-{_BOOT_ID[:6]}@{socket.gethostname()}"
    global _hostname
    _hostname = instance.hostname
    # The window takes a message only for a free slot in any case; Celery's own way would hold some back.
    conf.worker_disable_prefetch = False
    try:
        check(options, options.get("pool") or conf.worker_pool)
    except SettingsError as exc:
        _end(exc)


@signals.setup_logging.connect
def _configure_logging(loglevel: Any = None, logfile: Any = None, **_: Any) -> None:
    # --loglevel sets the level of Celery's lines, FERRYMAN_LOG_LEVEL of ours.
    file = node_format(logfile, _hostname) if logfile else None
    try:
        configure(loglevel or "WARNING", Settings.from_env().log_level, file)
    except OSError as exc:
        _end(SettingsError(f"cannot write the log file {file} ({exc.strerror}): give another with -f"))


@signals.worker_init.connect
def _make_context(sender: Any, **_: Any) -> None:
    instance = sender
    if not isinstance(instance.concurrency, int):  # -c auto
        instance.concurrency = os.cpu_count() or 2
    try:
        check_queues(instance.app.amqp.queues.consume_from)
        settings = Settings.from_env()
        _close_directories(settings)
        db = Database(settings.store, pool=instance.concurrency + 8, on_damage=_end)
        with _leaving_at_once():
            installation = Installation(db, settings, _wait_for_servers(db, settings))
        docker = settings.runtime
        host_access = host_access_of(docker, settings.private_places)
        runtime = DockerRuntime(docker, settings.path, installation.id, host_access)
    except FerrymanError as exc:
        _end(exc)
    queues = tuple(sorted(instance.app.amqp.queues.consume_from))
    in_doubt, running, holds = threading.Event(), RunningLinks(), Holds(installation)
    sandboxes = SandboxPool(runtime.sandboxes, running, docker, installation.id, instance.concurrency)
    context = WorkerContext(
        installation=installation,
        runtime=runtime,
        sweeper=Sweeper(installation, runtime, sandboxes, running, in_doubt),
        sandboxes=sandboxes,
        runtime_in_doubt=in_doubt,
        flusher=Flusher(db, settings.broker, instance.app),
        running=running,
        holds=holds,
        faults=MachineFaults(holds, sandboxes.trial, runtime.why_files_unusable),
        outputs=OutputWatch(runtime, docker, Disk(settings.path, docker.reserve_bytes), holds),
        name=instance.hostname,
        queues=queues,
        slots=instance.concurrency,
        node_id=_BOOT_ID,
    )
    set_context(context)
    control.answer_by(context.describe)
    instance.app.amqp.queues.select_add(context.own_queue)


def _close_directories(settings: Settings) -> None:
    """Make the directories that Docker binds files from; another account could change those files on the way."""
    try:
        private.make_directory(settings.path)
        private.make_directory(settings.path / "work")
    except OSError as exc:
        raise SettingsError(f"cannot use the data directory {settings.path} ({exc.strerror})") from exc


def _wait_for_servers(db: Database, settings: Settings) -> str:
    """Wait for the database, then for the broker; return the installation's id."""
    seconds = settings.patience_seconds
    installation = wait_for("the database", db.open, log.warning, seconds)
    broker = Broker(settings.broker)
    try:
        wait_for("the broker", lambda: broker.claim_for(installation), log.warning, seconds)
        if eviction := wait_for("the broker", broker.eviction, log.warning, seconds):
            log.warning("the broker at %s: %s", broker.url, eviction)
    finally:
        broker.close()
    return installation


@contextlib.contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the process in order: it has no node yet, and Celery handles them later."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in handlers:
        signal.signal(number, lambda *_: os._exit(0))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(exc: FerrymanError | str) -> NoReturn:
    """End the process with a message for its operator."""
    print(f"ferryman worker: {exc}", file=sys.stderr, flush=True)
    os._exit(os.EX_CONFIG if isinstance(exc, str) else exit_status(exc))


@signals.worker_ready.connect
def _start_threads(sender: Any, **_: Any) -> None:
    context = get_context()
    settings = context.installation.settings
    log.info(
        "joined installation %s: database %s, broker %s",
        context.installation.id,
        without_password(settings.store.database_url),
        without_password(settings.broker.broker_url),
    )
    threads = NodeThreads(context)
    shutdown = Shutdown(context, threads)
    shutdown.pid_lock = sender.controller.pidlock
    signals.worker_shutting_down.connect(shutdown.on_signal, weak=False)
    # Celery's handlers of these signals wait for the threads or end in a traceback.
    signal.signal(signal.SIGQUIT, shutdown.on_quit)
    signal.signal(signal.SIGINT, shutdown.on_interrupt)
    signal.signal(signal.SIGHUP, shutdown.on_hangup)
    context.flusher.start()
    context.sweeper.start()
    context.outputs.start()
    context.sandboxes.start()
    context.holds.start(lambda: context.caller, context.intake.refresh)
    threads.start()
    lanes.start(context.installation, on_wrong_broker=_end)
    context.is_watched, context.on_close = True, shutdown.on_close
    Watchdog(sender, context, shutdown.leave_with).start()
