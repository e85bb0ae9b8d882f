"""Restarts: tasks of lapsed and left nodes that no node found start again elsewhere, after their grace."""

from __future__ import annotations

import time

from engine.lifecycle.installation import Installation
from engine.lifecycle.restart import restart
from engine.model.records import Caller, Token
from engine.model.retry import grace_ms
from engine.store import attempts, tasks


class Restarts:
    """Memory of since when each task is lost: the grace runs on this process's monotonic clock."""

    def __init__(self, installation: Installation, caller: Caller) -> None:
        self._installation, self._caller = installation, caller
        self._seen: dict[tuple[Token, int], float] = {}

    def run(self) -> int:
        """Restart the lost tasks whose grace is over; return how many. Raises StoreUnavailable."""
        bounds = self._installation.settings.cluster.grace_bounds
        with self._installation.db.read() as c:
            lost = tasks.lost(c)
            ages = {task.id: attempts.status(c, task.token).age_ms for task, _, _ in lost}
        now = time.monotonic()
        self._seen = {
            (task.token, number): self._seen.get((task.token, number), now) for task, number, _ in lost
        }
        done = 0
        for task, number, state in lost:
            waited_ms = (now - self._seen[task.token, number]) * 1000
            # The age when the task was first seen lost: waiting must not make the grace longer.
            if waited_ms >= grace_ms(state, round(ages[task.id] - waited_ms), bounds):
                done += restart(self._installation, self._caller, task.token, number)
        return done
