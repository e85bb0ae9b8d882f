"""Attempts past their time whose node is gone end here; a living node's own thread ends the others."""

from __future__ import annotations

from engine.lifecycle.site import Site
from engine.lifecycle.timeout import timeout
from engine.store import tasks


class Timeouts:
    """Has no memory: the rows and the database's clock say it all."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def run(self) -> int:
        """One look; says how many were ended. Raises StoreUnavailable."""
        with self._site.db.read() as c:
            late = tasks.overdue(c)
        return sum(timeout(self._site, task.token) for task in late)
