"""Attempts past their time whose node is gone end here; a living node's own thread ends the others."""

from __future__ import annotations

from engine.lifecycle.installation import Installation
from engine.lifecycle.timeout import timeout
from engine.model.records import Caller
from engine.store import tasks


class Timeouts:
    """Has no memory: the rows and the database's clock say it all."""

    def __init__(self, installation: Installation, caller: Caller) -> None:
        self._installation, self._caller = installation, caller

    def run(self) -> int:
        """One look; says how many were ended. Raises StoreUnavailable."""
        with self._installation.db.read() as c:
            late = tasks.overdue(c)
        return sum(timeout(self._installation, self._caller, task.token) for task in late)
