"""The passes, in order, each beat. Safety is in each verb's WHERE; the order only saves work.

Two threads: a broker whose packets are lost makes each look at it wait for seconds, and whoever watches beats with
such gaps would see nobody lapse (engine/reconcile/lapses.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.errors import StoreUnavailable, WrongInstallation
from engine.lifecycle.site import Site
from engine.reconcile.deliveries import Deliveries
from engine.reconcile.lapses import Lapses
from engine.reconcile.remains import Remains
from engine.reconcile.restarts import Restarts
from engine.reconcile.timeouts import Timeouts

log = logging.getLogger("ferryman.reconcile")


class Pass(Protocol):
    """Finds one kind of difference and calls a verb for each."""

    def run(self) -> int:
        """One look; says how many repairs were made."""


class Reconciler:
    """The reconciler of this process, in two threads."""

    def __init__(self, site: Site, lost: Callable[[WrongInstallation], None]) -> None:
        """`lost` is told when the broker turns out to be another installation's."""
        pace = site.settings.beat_seconds
        rows: list[Pass] = [Lapses(site), Timeouts(site), Restarts(site)]
        broker: list[Pass] = [Deliveries(site), Remains(site)]
        self._threads = [
            _Looks("reconcile", pace, rows, lost),
            _Looks("reconcile-broker", pace, broker, lost),
        ]

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the present look."""
        for thread in self._threads:
            thread.stop_asked.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end, this long for each thread at most."""
        for thread in self._threads:
            thread.join(seconds)


class _Looks(threading.Thread):
    """Some passes, one after another, again and again."""

    def __init__(
        self, name: str, pace: float, passes: Sequence[Pass], lost: Callable[[WrongInstallation], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._pace = pace
        self._lost = lost
        self._passes = passes
        self.stop_asked = threading.Event()

    def run(self) -> None:
        """Look each beat until stopped."""
        while not self.stop_asked.is_set():
            began = time.monotonic()
            for each in self._passes:
                self._one(each)
            self.stop_asked.wait(max(0.01, began + self._pace - time.monotonic()))

    def _one(self, each: Pass) -> None:
        try:
            each.run()
        except StoreUnavailable as exc:
            log.warning("not reconciled: %s", exc)
        except WrongInstallation as exc:
            self._lost(exc)
        except Exception:
            # A defect in one pass must not stop the others.
            log.exception("reconcile")


def start(site: Site, lost: Callable[[WrongInstallation], None]) -> Reconciler:
    """Start the reconciler of this process."""
    reconciler = Reconciler(site, lost)
    reconciler.start()
    return reconciler
