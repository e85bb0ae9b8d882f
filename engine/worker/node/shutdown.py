"""Shutdown of a worker: it lets go of running links, whose containers go on, and the node has LEFT."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

from celery.platforms import isatty

from engine.errors import RuntimeUnavailable, StoreUnavailable
from engine.lifecycle import nodes as verbs
from engine.worker.context import WorkerContext
from engine.worker.node.threads import NodeThreads

log = logging.getLogger("ferryman.leave")

#: A link that is stuck in a call cannot be interrupted: after this time the process leaves without it.
_LET_GO_SECONDS = 2.0
_MAIN_THREAD_SECONDS = 1.5


class Shutdown:
    """Handler of shutdown signals; each further signal shortens the wait."""

    def __init__(self, context: WorkerContext, threads: NodeThreads) -> None:
        self._context = context
        self._threads = threads
        self._hurry = threading.Event()
        self._signals = 0
        #: As in Celery, SIGHUP restarts a worker that has no terminal.
        self._has_terminal = isatty(sys.stdout)
        self._restarts = False
        self._status = 0
        #: Celery's lock on its pid file, which a process that ends here must release.
        self.pid_lock: Any = None

    def leave_with(self, status: int) -> None:
        """Leave as after SIGTERM, with this exit status; called by a thread."""
        self._status, self._restarts = status, False
        self._count_signal()

    def on_close(self, status: int) -> None:
        """Leave when Celery closes the worker without a signal."""
        if not self._signals:
            self.leave_with(status)

    def on_signal(self, **_: Any) -> None:
        """Handle celery.signals.worker_shutting_down; runs in the signal handler, so it only starts a thread."""
        self._restarts = False
        self._count_signal()

    def _count_signal(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._hurry.set()
            return
        # Not a daemon thread: the interpreter must wait for it, or the row would stay LEAVING until the node lapses.
        threading.Thread(target=self._leave, name="leave").start()

    def on_interrupt(self, *_: Any) -> None:
        """Handle SIGINT (Ctrl-C in a terminal) as SIGTERM; Celery's own handler would announce the end of tasks."""
        os.kill(os.getpid(), signal.SIGTERM)

    def on_quit(self, *_: Any) -> None:
        """Handle SIGQUIT as a second SIGTERM; Celery's own handler would wait for the threads."""
        self._hurry.set()
        if not self._signals:
            self.on_signal()

    def on_hangup(self, *_: Any) -> None:
        """Handle SIGHUP: leave when the terminal was closed; without a terminal, restart with the same command line.

        Celery's own handler would exit at once, or take nothing until the last container has ended.
        """
        self._restarts = not self._has_terminal and not self._signals
        self._count_signal()

    def _leave(self) -> None:
        context = self._context
        context.leaving.set()
        context.intake.refresh()
        self._try(lambda: verbs.drain(context.installation, context.caller, context.node_id))
        if context.installation.settings.cluster.drain_timeout_seconds and not self._hurry.is_set():
            self._wait_for_links()
        if count := len(context.running.all()):
            log.info(
                "links let go: %d; their containers go on, for a worker of this Docker to take over", count
            )
        context.running.detach_all()
        context.running.wait_empty(_LET_GO_SECONDS)
        self._threads.stop()
        context.holds.stop()
        unused = context.sandboxes.close(_LET_GO_SECONDS)
        self._try(lambda: verbs.leave(context.installation, context.caller))
        self._try(lambda: context.runtime.remove(unused))
        # Celery ends the main thread once its pool is free, or never; otherwise only a signal tells it to end.
        threading.main_thread().join(0 if self._restarts or self._status else _MAIN_THREAD_SECONDS)
        if self.pid_lock is not None and threading.main_thread().is_alive():
            self.pid_lock.release()
        if self._restarts:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        if threading.main_thread().is_alive():
            os._exit(self._status)

    def _wait_for_links(self) -> None:
        """Let running links end, for drain_timeout_seconds at most, or until the next signal."""
        running = self._context.running
        left = self._context.installation.settings.cluster.drain_timeout_seconds
        log.info("waiting for %d links to end, up to %g s; a second signal ends it", len(running.all()), left)
        step = 0.2
        while left > 0 and not self._hurry.is_set() and not running.wait_empty(min(step, left)):
            left -= step

    def _try(self, verb: Any) -> None:
        try:
            verb()
        except (StoreUnavailable, RuntimeUnavailable) as exc:
            # Without a beat a LEAVING node has LEFT after its lease, and its sandboxes are swept.
            log.warning("a step of leaving failed, another node makes up for it: %s", exc)
