"""Reach: whether this worker reaches its broker. One that does not is held, and leaves when that lasts.

Such a worker would count as serving its queues, and their tasks would wait for it without a word. Each answer to the
consumer proves the reach; only without one is the broker asked.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from engine.dispatch.queues import Broker
from engine.errors import BrokerUnavailable
from engine.model.states import HoldKind
from engine.wording.durations import duration
from engine.worker.context import WorkerContext

log = logging.getLogger("ferryman.reach")

#: Ends the process in order, with this exit status.
Leave = Callable[[int], None]


class Reach:
    """Memory of when this worker last reached its broker. Used by the watchdog's thread only."""

    def __init__(self, consumer: Any, context: WorkerContext, broker: Broker, leave: Leave) -> None:
        self._consumer, self._context, self._broker, self._leave = consumer, context, broker, leave
        settings = context.installation.settings
        self._lease_seconds, self._patience_seconds = (
            settings.cluster.lease_seconds,
            settings.patience_seconds,
        )
        self._reached_at = time.monotonic()

    def look(self) -> None:
        """Hold the node when the broker was out of reach for a lease, release it, or leave after the patience."""
        reason = self._why_out_of_reach()
        away_seconds = time.monotonic() - self._reached_at
        if not reason:
            self._context.holds.release(HoldKind.BROKER)
        elif away_seconds >= self._patience_seconds:
            words = duration(round(away_seconds * 1000))
            log.critical(
                "no broker for %s: this process leaves with %d, its containers go on", words, os.EX_TEMPFAIL
            )
            self._leave(os.EX_TEMPFAIL)
        elif away_seconds >= self._lease_seconds:
            self._context.holds.hold(HoldKind.BROKER, reason)

    def _why_out_of_reach(self) -> str:
        now, intake = time.monotonic(), self._context.intake
        if self._consumer.connection is None:
            return f"its consumer has no connection to {self._broker.url}"
        if now - intake.heard_at >= self._lease_seconds:
            try:
                self._broker.ping()
            except BrokerUnavailable as exc:
                return str(exc)
        self._reached_at = now
        return ""
