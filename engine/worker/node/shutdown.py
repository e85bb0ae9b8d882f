"""How a worker leaves: SIGTERM (or Ctrl-C) lets go of running links (their containers go on), and the node has LEFT."""

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

#: A link that is stuck in a call cannot be interrupted; the process is gone after this all the same.
_LET_GO_SECONDS = 2.0
_LAST_SECONDS = 1.5


class Shutdown:
    """Reacts to the shutdown signals; each more one makes it quicker."""

    def __init__(self, context: WorkerContext, threads: NodeThreads) -> None:
        self._context = context
        self._threads = threads
        self._hurry = threading.Event()
        self._asked = 0
        #: As Celery decides it: without a terminal SIGHUP means to begin anew.
        self._on_terminal = isatty(sys.stdout)
        self._again = False

    def on_signal(self, **_: Any) -> None:
        """celery.signals.worker_shutting_down: in the signal handler, so it only starts a thread."""
        self._again = False
        self._ask()

    def _ask(self) -> None:
        self._asked += 1
        if self._asked > 1:
            self._hurry.set()
            return
        # No daemon: the interpreter's end waits for it, or the node's row would stay LEAVING until it lapses.
        threading.Thread(target=self._leave, name="leave").start()

    def on_interrupt(self, *_: Any) -> None:
        """SIGINT, Ctrl-C in a terminal: a SIGTERM. Nothing running is ended by it, whatever Celery's own would say."""
        os.kill(os.getpid(), signal.SIGTERM)

    def on_quit(self, *_: Any) -> None:
        """SIGQUIT: as a second SIGTERM, at once; Celery's own handler would wait for the threads."""
        self._hurry.set()
        if not self._asked:
            self.on_signal()

    def on_hangup(self, *_: Any) -> None:
        """SIGHUP: its terminal was closed, and it leaves; without one it begins anew, with the same words.

        Celery's own would be dead at once, or take nothing until the last container has ended.
        """
        self._again = not self._on_terminal and not self._asked
        self._ask()

    def _leave(self) -> None:
        context = self._context
        context.leaving.set()
        if context.window is not None:
            context.window.refresh()
        self._quietly(lambda: verbs.drain(context.installation, context.node_id))
        if context.installation.settings.cluster.drain_timeout_seconds and not self._hurry.is_set():
            self._drain()
        if count := len(context.running.all()):
            log.info(
                "links let go: %d; their containers go on, for a worker of this Docker to take over", count
            )
        context.running.detach_all()
        context.running.wait_empty(_LET_GO_SECONDS)
        self._threads.stop()
        idle = context.sandboxes.shut(_LET_GO_SECONDS)
        self._quietly(lambda: verbs.leave(context.installation, context.node_id))
        self._quietly(lambda: context.runtime.remove(idle))
        # Celery ends by itself once its threads are free; else it would wait for them for ever. Not told, it goes on.
        threading.main_thread().join(0 if self._again else _LAST_SECONDS)
        if self._again:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        if threading.main_thread().is_alive():
            os._exit(0)

    def _drain(self) -> None:
        """Let running links end, for drain_timeout at most or until asked again."""
        context = self._context
        patience = context.installation.settings.cluster.drain_timeout_seconds
        log.info(
            "%d links may end, for %g s; asked again, it leaves at once", len(context.running.all()), patience
        )
        step, left = 0.2, patience
        while left > 0 and not self._hurry.is_set() and not context.running.wait_empty(min(step, left)):
            left -= step

    def _quietly(self, verb: Any) -> None:
        try:
            verb()
        except (StoreUnavailable, RuntimeUnavailable) as exc:
            # Then the beat stands still and the node lapses: LEFT, if it was LEAVING. What it held is swept.
            log.warning("not done while leaving: %s", exc)
