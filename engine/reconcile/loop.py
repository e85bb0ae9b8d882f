"""The passes, in order, each beat. Safety is in each verb's WHERE; the order only saves work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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


class Reconciler(threading.Thread):
    """The reconciler of this process."""

    def __init__(self, site: Site, lost: Callable[[WrongInstallation], None]) -> None:
        super().__init__(name="reconcile", daemon=True)
        self._pace = site.settings.beat_seconds
        self._lost = lost
        self._passes: list[Pass] = [
            Lapses(site),
            Timeouts(site),
            Restarts(site),
            Deliveries(site),
            Remains(site),
        ]
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Look each beat until stopped."""
        while not self._stop_asked.is_set():
            began = time.monotonic()
            for each in self._passes:
                self._one(each)
            self._stop_asked.wait(max(0.01, began + self._pace - time.monotonic()))

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

    def stop(self) -> None:
        """End after the present look."""
        self._stop_asked.set()


def start(site: Site, lost: Callable[[WrongInstallation], None]) -> Reconciler:
    """Start the reconciler's thread. `lost` is told when the broker turns out to be another installation's."""
    reconciler = Reconciler(site, lost)
    reconciler.start()
    return reconciler
