"""How a drained worker ends: nothing new is taken, what it has goes on to its end, then the process leaves.

`ferryman drain` makes the node LEAVING; its own beat tells it so. Its own queue is still served, so that chains
that began here go on. The end itself is that of SIGTERM (engine.worker.node.shutdown), with nothing left to let go of.
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

#: A row that names this node has had no thread for so long: its message is lost, and a LEAVING node takes up
#: nothing anew. It leaves, and a node of its daemon takes the row over, or it starts again.
_LOOSE_SECONDS = 15.0


class Draining:
    """Waits for the work in hand, then asks this process to leave."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        #: The node lapsed while it was LEAVING: it has LEFT, and nothing is this process's any more.
        self.fenced = threading.Event()

    def begin(self) -> None:
        """The node is LEAVING; called at each beat that says so."""
        context = self._context
        if context.draining.is_set():
            return
        context.draining.set()
        if context.window is not None:
            context.window.refresh()
        log.warning("drained: %d links in hand go on, nothing new is taken", len(context.running.all()))
        threading.Thread(target=self._wait, name="drained", daemon=True).start()

    def end_if_begun(self) -> None:
        """The node was fenced: when it is drained, there is nothing to join again for."""
        if self._context.draining.is_set():
            self.fenced.set()

    def _wait(self) -> None:
        context, loose = self._context, time.monotonic()
        pace = context.installation.settings.cluster.beat_seconds
        while not context.leaving.wait(pace) and not self.fenced.is_set():
            if context.running.all():
                loose = time.monotonic()
                continue
            try:
                with context.installation.db.read() as c:
                    mine = tasks.of_node(c, context.node_id)
            except StoreUnavailable as exc:
                log.warning("drained, the database is away: %s", exc)
                continue
            if not mine or time.monotonic() - loose > _LOOSE_SECONDS:
                break
        if not context.leaving.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
