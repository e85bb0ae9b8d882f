"""A thread that notices a deaf consumer, has it rebuilt, and leaves the process when that does not help.

The most reported fault of Celery on Redis: connected, slots free, messages waiting, nothing received
(celery#8030 and its kin). A hub timer would not see a blocked hub, so this is a thread.
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

log = logging.getLogger("ferryman.watchdog")

#: Nothing was received for this long although messages wait: deaf.
_QUIET_SECONDS = 5.0
#: After this long the hub is asked for its pulse, once: where it has not come at the end, it is blocked in a call.
_PULSE_SECONDS = 1.0
_EVERY_SECONDS = 1.0
#: The third strike is the supervisor's turn.
_STRIKES = 3
EXIT_DEAF = 75


class Deaf(ConnectionError):
    """The consumer is deaf: a connection error, so that Celery rebuilds the consumer and nothing else."""


class Watchdog(threading.Thread):
    """Watches one consumer. Never acts while Celery reconnects by itself."""

    def __init__(self, consumer: Any, context: WorkerContext) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._c = consumer
        self._context = context
        self._broker = Broker(context.installation.settings.broker)
        self._heard = self._beat = time.monotonic()
        self._asked = self._pulse_asked = 0.0
        self._strikes = 0
        signals.task_received.connect(self._on_received)
        # worker_ready fires in the main thread, where a handler may be set.
        signal.signal(signal.SIGUSR2, _interrupt)

    def _on_received(self, **_: Any) -> None:
        self._heard, self._strikes = time.monotonic(), 0

    def run(self) -> None:
        """Look each second, as long as the process lives."""
        while not self._context.leaving.wait(_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        c, now = self._c, time.monotonic()
        if c.connection is None or not self._context.live:
            self._heard = self._beat = now
            return
        window = self._context.window
        if window is None or not window.size or c.pool.num_processes <= len(state.reserved_requests):
            self._heard, self._strikes = now, 0
            return
        quiet_since = max(self._heard, self._asked)
        if now - quiet_since >= _PULSE_SECONDS and self._pulse_asked <= quiet_since:
            self._pulse_asked = now
            c.call_soon(self._pulse)
        if now - quiet_since < _QUIET_SECONDS:
            return
        try:
            waiting = sum(self._broker.depth(name) for name in self._context.queues)
        except BrokerUnavailable:
            return  # the broker is away: that is not deafness
        if not waiting:
            self._heard, self._strikes = now, 0
            return
        self._strike(waiting, now)

    def _strike(self, waiting: int, now: float) -> None:
        self._strikes += 1
        self._asked = now
        log.warning(
            "deaf: %d messages wait, nothing was received for %.0f s (strike %d of %d)",
            waiting,
            now - self._heard,
            self._strikes,
            _STRIKES,
        )
        if self._strikes >= _STRIKES:
            log.critical("still deaf: this process leaves, its containers go on")
            os._exit(EXIT_DEAF)
        if self._beat >= self._pulse_asked:
            self._c.call_soon(_rebuild)
        else:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def _pulse(self) -> None:
        self._beat = time.monotonic()


def _rebuild() -> None:
    raise Deaf("nothing received although messages wait")


def _interrupt(*_: Any) -> None:
    """In the main thread: breaks a read that never returns."""
    raise Deaf("the hub was blocked")
