"""Lapses: nodes whose beat stood still for a whole lease, by this process's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from engine.lifecycle import nodes as verbs
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.store import nodes, workload


@dataclass
class _Beat:
    number: int
    since: float


class Lapses:
    """Memory of each node's beat and since when it stands still, while this process's own reads succeed."""

    def __init__(self, installation: Installation, caller: Caller) -> None:
        self._installation, self._caller = installation, caller
        self._seen: dict[str, _Beat] = {}
        self._last_read: float | None = None

    def run(self) -> int:
        """Read the beats and end lapsed nodes; return how many. Raises StoreUnavailable."""
        with self._installation.db.read() as c:
            beats = workload.beats(c)
        return self.see(beats)

    def see(self, beats: Mapping[str, int]) -> int:
        """Compare beats just read (id -> beat), end lapsed nodes and return how many. Raises StoreUnavailable."""
        lease = self._installation.settings.cluster.lease_seconds
        now = time.monotonic()
        # A gap in this process's reads (database away, process stopped) proves nothing about others: start again.
        if self._last_read is not None and now - self._last_read > lease / 2:
            self._seen.clear()
        self._last_read = now
        self._seen = {id: self._seen.get(id, _Beat(beat, now)) for id, beat in beats.items()}
        ended = 0
        for id, beat in beats.items():
            seen = self._seen[id]
            if seen.number != beat:
                seen.number, seen.since = beat, now
            elif now - seen.since >= lease:
                ended += self._end(id, beat)
        return ended

    def _end(self, node_id: str, beat: int) -> bool:
        with self._installation.db.read() as c:
            node = nodes.get(c, node_id)
        return node is not None and node.beat == beat and verbs.lapse(self._installation, self._caller, node)
