"""Lost messages: after the broker was emptied all are sent again, else those that are overdue."""

from __future__ import annotations

import logging
import time

from engine.dispatch import wakeup
from engine.dispatch.queues import Broker
from engine.errors import BrokerUnavailable
from engine.lifecycle.installation import Installation
from engine.lifecycle.resend import resend
from engine.model.records import Caller, Task
from engine.store import nodes, outbox, tasks

log = logging.getLogger("ferryman.reconcile")

_BATCH = 1000
#: Tasks that may wait for this process's flusher, as few as keep it busy: other processes send what waits for
#: longer than a second too.
_AHEAD = 200
_AHEAD_SECONDS = 2.0
_LONGEST_MS = 600_000
_REPORT_SECONDS = 60.0


class LostMessages:
    """Pass over the broker's marker and overdue rows; called each beat while the broker must hold a message."""

    def __init__(self, installation: Installation, caller: Caller) -> None:
        self._installation, self._caller = installation, caller
        self._broker = Broker(installation.settings.broker)
        self._empty_since: dict[str, float] = {}
        #: Messages sent before this time are sent again: the broker was emptied, and some are left.
        self._emptied_at: int | None = None
        self._away = False
        self._reported_at: float | None = None

    def run(self) -> int:
        """Send lost messages again; return how many. Raises StoreUnavailable, WrongInstallation."""
        try:
            emptied = self._broker.claim_for(self._installation.id)
            if self._away:
                log.info("the broker answers again")
            self._away = False
            if emptied:
                self._report("the broker was emptied")
                # The flusher sends meanwhile: without this bound a long backlog would be sent in circles. One more
                # than now, so that it includes what was sent in this millisecond.
                with self._installation.db.read() as c:
                    self._emptied_at = tasks.now(c) + 1
            return self._resend_overdue() if self._emptied_at is None else self._resend_all(self._emptied_at)
        except BrokerUnavailable as exc:
            if not self._away:
                log.warning("the broker does not answer: %s", exc)
            self._away = True
            self._empty_since.clear()
            return 0

    def _resend_all(self, before: int) -> int:
        done = 0
        while True:
            with self._installation.db.read() as c:
                lost = outbox.scheduled(c, _BATCH, before)
            if not lost:
                self._emptied_at = None
                return done
            for start in range(0, len(lost), _AHEAD):
                group, why = lost[start : start + _AHEAD], "the broker was emptied"
                done += resend(self._installation, self._caller, group, why, counts=False)
                wakeup.wait_for_room(_AHEAD, _AHEAD_SECONDS)

    def _resend_overdue(self) -> int:
        """Send a message again if its wait is over, and a later one was claimed or its served queue is empty."""
        wait_ms = round(self._installation.settings.cluster.resend_seconds * 1000)
        with self._installation.db.read() as c:
            since = outbox.overdue_since(c, wait_ms, _LONGEST_MS)
            if not since:
                self._empty_since.clear()
                return 0
            claimed = outbox.last_claimed(c, 600_000)
            served = {queue for node in nodes.beating(c) for queue in node.queues}
        empty = self._empty_queues({queue for queue, _ in since} & served)
        lost: list[Task] = []
        with self._installation.db.read() as c:
            for kind, oldest in since.items():
                overtaken = claimed.get(kind, 0) - wait_ms
                # A long backlog usually only waits: its rows are read when some of its messages are lost.
                if kind[0] in empty or oldest <= overtaken:
                    last = None if kind[0] in empty else overtaken
                    lost += outbox.overdue(c, kind, wait_ms, _LONGEST_MS, _BATCH, last)
        if not lost:
            return 0
        evicts = self._report("messages are missing")
        return resend(self._installation, self._caller, lost, "its message seems lost", counts=not evicts)

    def _report(self, loss: str) -> bool:
        """Return whether the broker removes messages of its own accord; say so, at most once a minute."""
        eviction = self._broker.eviction()
        if eviction and (self._reported_at is None or time.monotonic() - self._reported_at > _REPORT_SECONDS):
            self._reported_at = time.monotonic()
            log.warning("%s, and the broker is why: %s", loss, eviction)
        return bool(eviction)

    def _empty_queues(self, queues: set[str]) -> set[str]:
        """Return the queues that were empty in two looks at least two beats apart."""
        now = time.monotonic()
        empty = {queue for queue in queues if self._broker.depth(queue) == 0}
        self._empty_since = {queue: self._empty_since.get(queue, now) for queue in empty}
        two_looks = self._installation.settings.cluster.beat_seconds * 2
        return {queue for queue, since in self._empty_since.items() if now - since >= two_looks}
