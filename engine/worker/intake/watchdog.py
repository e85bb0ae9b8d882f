"""Watchdog of the consumer: has a deaf consumer rebuilt, and ends the process when that does not help.

A deaf consumer is the most reported fault of Celery on Redis (celery#8030 and others): connected, slots free,
messages waiting, nothing received. A hub timer would not notice a blocked hub, so this is a thread.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

from celery import signals
from celery.worker import state

from engine.dispatch.queues import Broker
from engine.errors import BrokerUnavailable
from engine.worker.context import WorkerContext
from engine.worker.intake.reach import Leave, Reach

log = logging.getLogger("ferryman.watchdog")

#: A consumer that has received nothing for this long while messages wait is deaf.
_DEAF_SECONDS = 5.0
#: After this long the hub is asked once for a pulse; a hub that gave none by the end is blocked in a call.
_PULSE_SECONDS = 1.0
_EVERY_SECONDS = 1.0
#: With the last strike the process exits, and its supervisor starts another.
_STRIKES = 3
#: Exit code of a worker whose consumer stayed deaf (sysexits.h: a temporary failure).
EXIT_DEAF = os.EX_TEMPFAIL


class ConsumerDeaf(ConnectionError):
    """A deaf consumer; a connection error, so that Celery rebuilds the consumer and nothing else."""


class Watchdog(threading.Thread):
    """Thread that watches one consumer. Never acts while Celery reconnects by itself."""

    def __init__(self, consumer: Any, context: WorkerContext, leave: Leave) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._consumer = consumer
        self._context = context
        self._broker = Broker(context.installation.settings.broker)
        self._reach = Reach(consumer, context, self._broker, leave)
        #: Monotonic times: of the last message, the last pulse, the last strike, and the last request for a pulse.
        self._received_at = self._pulse_at = time.monotonic()
        self._struck_at = self._pulse_requested_at = 0.0
        self._strikes = 0
        signals.task_received.connect(self._on_received)
        # worker_ready is sent in the main thread, the only one that may set a handler.
        signal.signal(signal.SIGUSR2, _interrupt)

    def _on_received(self, **_: Any) -> None:
        self._received_at, self._strikes = time.monotonic(), 0

    def run(self) -> None:
        """Look each second until the process leaves."""
        while not self._context.leaving.wait(_EVERY_SECONDS):
            self._reach.look()
            self._look()

    def _look(self) -> None:
        consumer, now = self._consumer, time.monotonic()
        if consumer.connection is None or not self._context.live:
            self._received_at = self._pulse_at = now
            return
        if not self._context.intake.size or consumer.pool.num_processes <= len(state.reserved_requests):
            self._received_at, self._strikes = now, 0
            return
        quiet_since = max(self._received_at, self._struck_at)
        if now - quiet_since >= _PULSE_SECONDS and self._pulse_requested_at <= quiet_since:
            self._pulse_requested_at = now
            consumer.call_soon(self._pulse)
        if now - quiet_since < _DEAF_SECONDS:
            return
        try:
            waiting = sum(self._broker.depth(name) for name in self._context.queues)
        except BrokerUnavailable:
            return  # nothing can be received: the consumer is not deaf
        if not waiting:
            self._received_at, self._strikes = now, 0
            return
        self._strike(waiting, now)

    def _strike(self, waiting: int, now: float) -> None:
        self._strikes += 1
        self._struck_at = now
        quiet, strike = now - self._received_at, f"strike {self._strikes} of {_STRIKES}"
        log.warning("deaf: %d messages wait, nothing received for %.0f s (%s)", waiting, quiet, strike)
        if self._strikes >= _STRIKES:
            log.critical("still deaf: this process exits with %d, its containers go on", EXIT_DEAF)
            os._exit(EXIT_DEAF)
        if self._pulse_at >= self._pulse_requested_at:
            self._consumer.call_soon(_rebuild)
        else:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def _pulse(self) -> None:
        self._pulse_at = time.monotonic()


def _rebuild() -> None:
    raise ConsumerDeaf("nothing received although messages wait")


def _interrupt(*_: Any) -> None:
    """Break, in the main thread, a read that never returns."""
    raise ConsumerDeaf("the hub was blocked")
