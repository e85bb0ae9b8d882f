"""Leftovers of ended nodes: their queue in the broker, and after a day their row."""

from __future__ import annotations

import time

from engine.dispatch.queues import Broker
from engine.errors import BrokerUnavailable
from engine.lifecycle import nodes as verbs
from engine.lifecycle.installation import Installation
from engine.model import names
from engine.model.records import Caller
from engine.store import nodes

#: A day: people look for what happened yesterday.
_KEEP_MS = 24 * 3600 * 1000
_ROWS_EVERY_SECONDS = 600.0


class NodeLeftovers:
    """Memory of the nodes whose queue was removed; a second removal by another process does no harm."""

    def __init__(self, installation: Installation, caller: Caller) -> None:
        self._installation, self._caller = installation, caller
        self._broker = Broker(installation.settings.broker)
        self._done: set[str] = set()
        self._rows_at = time.monotonic()

    def run(self) -> int:
        """Remove queues of ended nodes, and old rows; return how many queues. Raises StoreUnavailable."""
        with self._installation.db.read() as c:
            ended = set(nodes.gone(c))
        self._done &= ended
        removed = 0
        for node_id in ended - self._done:
            try:
                self._broker.drop(names.node_queue(node_id))
            except BrokerUnavailable:
                return removed  # LostMessages logs it; the next look continues
            self._done.add(node_id)
            removed += 1
        if time.monotonic() - self._rows_at >= _ROWS_EVERY_SECONDS:
            self._rows_at = time.monotonic()
            verbs.forget(self._installation, self._caller, _KEEP_MS)
        return removed
