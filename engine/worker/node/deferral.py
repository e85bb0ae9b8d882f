"""Deferral of take-overs: this worker leaves tasks that its host access refuses to other workers first."""

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

log = logging.getLogger("ferryman.adoption")

#: A container in one of these states is followed or collected: the link needs no new container.
_BEGUN = ("running", "paused", "restarting", "exited", "dead")


class Deferral:
    """Memory of the tasks left to other workers, and since when. Used by the node's thread only."""

    def __init__(self, installation: Installation, runtime: Runtime) -> None:
        self._installation = installation
        self._runtime = runtime
        self._since: dict[Token, float] = {}

    def keep_only(self, tokens: Iterable[Token]) -> None:
        """Forget all other tokens."""
        kept = set(tokens)
        self._since = {token: since for token, since in self._since.items() if token in kept}

    def defers(self, task: Task, former: NodeState, resources: Sequence[Resource]) -> bool:
        """Return True while a worker of this daemon that may create the task's further links should take it first.

        The wait is the least grace of a restart. After that this worker takes the task over: the running link is
        kept, and the rest is given back.
        """
        upcoming = next_link(self._installation, task)
        if upcoming is None:
            return False
        is_begun = any(r.index == upcoming.order.index and r.state in _BEGUN for r in resources)
        if is_begun and upcoming.is_last:
            return False
        reason = self._runtime.why_refused(upcoming.order)
        if not reason:
            return False
        now = time.monotonic()
        if task.token not in self._since:
            log.info("task %s is left to other workers for now: %s", task.id, reason)
        since = self._since.setdefault(task.token, now)
        return (now - since) * 1000 < grace_ms(former, 0, self._installation.settings.cluster.grace_bounds)
