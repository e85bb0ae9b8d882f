"""Watch the beats with this process's own monotonic clock; end the nodes whose beat stood still."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.lifecycle import nodes as verbs
from engine.lifecycle.site import Site
from engine.store import nodes


@dataclass
class _Seen:
    beat: int
    since: float


class Lapses:
    """Remembers each node's beat and since when it stands still, while this process's own reads succeed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._seen: dict[str, _Seen] = {}
        self._last_read: float | None = None

    def run(self) -> int:
        """One look; says how many nodes were ended. Raises StoreUnavailable."""
        lease = self._site.settings.lease_seconds
        with self._site.db.read() as c:
            beating = nodes.beating(c)
        now = time.monotonic()
        # A gap in our own reads (database away, process stopped) proves nothing about others: begin anew.
        if self._last_read is not None and now - self._last_read > lease / 2:
            self._seen.clear()
        self._last_read = now
        self._seen = {node.id: self._seen.get(node.id, _Seen(node.beat, now)) for node in beating}
        ended = 0
        for node in beating:
            seen = self._seen[node.id]
            if seen.beat != node.beat:
                seen.beat, seen.since = node.beat, now
            elif now - seen.since >= lease:
                ended += verbs.lapse(self._site, node)
        return ended
