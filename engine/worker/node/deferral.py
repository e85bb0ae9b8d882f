"""Whether a lost task is left to others for a while: this worker's doors are closed for its further links."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from engine.lifecycle.installation import Installation
from engine.lifecycle.next_link import next_link
from engine.model.records import Task, Token
from engine.model.retry import grace_ms
from engine.model.states import NodeState
from engine.runtime.base import Resource, Runtime

log = logging.getLogger("ferryman.adopt")

#: A container in one of these states is followed or collected: nothing is created for its link.
_BEGUN = ("running", "paused", "restarting", "exited", "dead")


class Deferral:
    """Remembers since when it leaves each task to others. Used by the node's thread only."""

    def __init__(self, installation: Installation, runtime: Runtime) -> None:
        self._installation = installation
        self._runtime = runtime
        self._since: dict[Token, float] = {}

    def keep(self, tokens: Iterable[Token]) -> None:
        """Forget all but these."""
        kept = set(tokens)
        self._since = {token: since for token, since in self._since.items() if token in kept}

    def defers(self, task: Task, former: NodeState, things: Sequence[Resource]) -> bool:
        """Leave it to a worker of this daemon that may create its further links, for the least grace of a restart.

        After that this one takes it: the running link is not lost, and the rest is given back.
        """
        found = next_link(self._installation, task)
        if found is None:
            return False
        is_begun = any(thing.index == found.order.index and thing.state in _BEGUN for thing in things)
        if is_begun and found.is_last:
            return False
        why = self._runtime.why_refused(found.order)
        if not why:
            return False
        now = time.monotonic()
        if task.token not in self._since:
            log.info("task %s is left to another worker for now: %s", task.id, why)
        since = self._since.setdefault(task.token, now)
        bounds = self._installation.settings.cluster.grace_bounds
        return (now - since) * 1000 < grace_ms(former, 0, bounds)
