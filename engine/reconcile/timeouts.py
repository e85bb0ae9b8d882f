"""Time-outs of attempts whose node is gone; on a node that beats, the link's own thread ends the attempt."""

from __future__ import annotations

from engine.lifecycle.installation import Installation
from engine.lifecycle.timeout import timeout
from engine.model.records import Caller
from engine.store import tasks


class Timeouts:
    """Pass without a memory: it needs only the rows and the database's clock."""

    def __init__(self, installation: Installation, caller: Caller) -> None:
        self._installation, self._caller = installation, caller

    def run(self) -> int:
        """End the attempts that are past their time limit; return how many. Raises StoreUnavailable."""
        with self._installation.db.read() as c:
            late = tasks.overdue(c)
        return sum(timeout(self._installation, self._caller, task.token) for task in late)
