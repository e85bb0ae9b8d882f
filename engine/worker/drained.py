"""How a drained worker ends: nothing new is taken, what it has goes on to its end, then the process leaves.

`ferryman drain` makes the node LEAVING; its own beat tells it so. Its own queue is still served, so that chains
that began here go on. The end itself is that of SIGTERM (engine.worker.drain), with nothing left to let go of.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from engine.errors import StoreUnavailable
from engine.store import tasks
from engine.worker.here import Here

log = logging.getLogger("ferryman.leave")

#: A row that names this node has had no thread for so long: its message is lost, and a LEAVING node takes up
#: nothing anew. It leaves, and a node of its daemon takes the row over, or it starts again.
_LOOSE_SECONDS = 15.0


class Drained:
    """Waits for the work in hand, then asks this process to leave."""

    def __init__(self, here: Here) -> None:
        self._here = here
        #: The node lapsed while it was LEAVING: it has LEFT, and nothing is this process's any more.
        self.fenced = threading.Event()

    def begin(self) -> None:
        """The node is LEAVING; called at each beat that says so."""
        here = self._here
        if here.draining.is_set():
            return
        here.draining.set()
        if here.window is not None:
            here.window.refresh()
        log.warning("drained: %d links in hand go on, nothing new is taken", len(here.hands.all()))
        threading.Thread(target=self._wait, name="drained", daemon=True).start()

    def end_if_begun(self) -> None:
        """The node was fenced: when it is drained, there is nothing to join again for."""
        if self._here.draining.is_set():
            self.fenced.set()

    def _wait(self) -> None:
        here, loose = self._here, time.monotonic()
        pace = here.installation.settings.beat_seconds
        while not here.leaving.wait(pace) and not self.fenced.is_set():
            if here.hands.all():
                loose = time.monotonic()
                continue
            try:
                with here.installation.db.read() as c:
                    mine = tasks.of_node(c, here.node_id)
            except StoreUnavailable as exc:
                log.warning("drained, the database is away: %s", exc)
                continue
            if not mine or time.monotonic() - loose > _LOOSE_SECONDS:
                break
        if not here.leaving.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
