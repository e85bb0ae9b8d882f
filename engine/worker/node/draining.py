"""Draining of a worker: no new work, running tasks go on to their end, then the process leaves.

`ferryman drain` makes the node LEAVING, and the answer to its next beat tells the worker. Its own queue is still
consumed, so that started chains continue. The process then leaves as with SIGTERM (engine.worker.node.shutdown).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from engine.errors import StoreUnavailable
from engine.store import tasks
from engine.worker.context import WorkerContext

log = logging.getLogger("ferryman.leave")

#: Rows of this node that have had no thread for this long have lost their messages, and a LEAVING node retakes
#: nothing: the worker leaves, and another node takes them over or they start again.
_ABANDON_SECONDS = 15.0


class Draining:
    """Wait for the running tasks, then a SIGTERM to this process."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        #: The node lapsed while it was LEAVING: it has LEFT, and owns nothing any more.
        self._fenced = threading.Event()

    def begin(self) -> None:
        """Stop taking new work; called at each beat whose answer says LEAVING."""
        context = self._context
        if context.draining.is_set():
            return
        context.draining.set()
        context.intake.refresh()
        log.warning("draining: %d running links go on, no new work is taken", len(context.running.all()))
        threading.Thread(target=self._wait, name="drain", daemon=True).start()

    def on_fenced(self) -> None:
        """End the wait: a drained node that was fenced does not join again."""
        if self._context.draining.is_set():
            self._fenced.set()

    def _wait(self) -> None:
        context, last_run = self._context, time.monotonic()
        pace = context.installation.settings.cluster.beat_seconds
        while not context.leaving.wait(pace) and not self._fenced.is_set():
            if context.running.all():
                last_run = time.monotonic()
                continue
            try:
                with context.installation.db.read() as c:
                    mine = tasks.of_node(c, context.node_id)
            except StoreUnavailable as exc:
                log.warning("draining: the database does not answer, trying again: %s", exc)
                continue
            if not mine or time.monotonic() - last_run > _ABANDON_SECONDS:
                break
        if not context.leaving.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
