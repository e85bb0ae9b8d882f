"""The passes, in order, each beat. Safety is in each verb's WHERE; the order only saves work.

One short look a beat says whether there is anything to do at all: a pass that nothing calls for rests, and is
made unasked every thirty beats only. Two threads: a broker whose packets are lost makes each look at it wait for
seconds, and whoever watches beats with such gaps would see nobody lapse (engine/reconcile/lapses.py).
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from engine.dispatch import wakeup
from engine.dispatch.flusher import OTHERS_SECONDS
from engine.errors import StoreUnavailable, WrongInstallation
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.reconcile.lapses import Lapses
from engine.reconcile.messages import LostMessages
from engine.reconcile.node_leftovers import NodeLeftovers
from engine.reconcile.restarts import Restarts
from engine.reconcile.timeouts import Timeouts
from engine.store import workload

log = logging.getLogger("ferryman.reconcile")

#: Without a call for it, a pass is made every so many beats: a glance may be blind to what nobody thought of.
_UNASKED_BEATS = 30


class Pass(Protocol):
    """Finds one kind of difference and calls a verb for each."""

    def run(self) -> int:
        """One look; says how many repairs were made."""


class Reconciler:
    """The reconciler of this process, in two threads."""

    def __init__(self, installation: Installation, lost: Callable[[WrongInstallation], None]) -> None:
        """`lost` is told when the broker turns out to be another installation's."""
        caller = Caller("reconciler", socket.gethostname())
        broker = _Brokers(installation, caller, lost)
        self._threads = [_Rows(installation, caller, lost, broker), broker]

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the present look."""
        for thread in self._threads:
            thread.stop_asked.set()
            thread.called.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end, this long for each thread at most."""
        for thread in self._threads:
            thread.join(seconds)


class _Looks(threading.Thread):
    """Some passes, one after another, again and again."""

    def __init__(
        self, name: str, installation: Installation, lost: Callable[[WrongInstallation], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._beat = installation.settings.cluster.beat_seconds
        self._lost = lost
        self.stop_asked = threading.Event()
        #: Set by whoever sees that there is something to do here.
        self.called = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self.stop_asked.is_set():
            began = time.monotonic()
            self.look()
            self.rest(began)

    def look(self) -> None:
        """All passes that are called for, once."""
        raise NotImplementedError

    def rest(self, began: float) -> None:
        """Wait for the next beat. A little early, and each process in a way of its own: never all at once."""
        self.stop_asked.wait(max(0.01, began + self._beat * random.uniform(0.9, 1) - time.monotonic()))

    def one(self, run: Callable[[], int]) -> int:
        """A pass, whose trouble stops no other; what it says, 0 when it failed."""
        try:
            return run()
        except StoreUnavailable as exc:
            log.warning("not reconciled: %s", exc)
        except WrongInstallation as exc:
            self._lost(exc)
        except Exception:
            # A defect in one pass must not stop the others.
            log.exception("reconcile")
        return 0


class _Brokers(_Looks):
    """What the broker is asked about: lost messages, and queues of ended nodes."""

    def __init__(
        self, installation: Installation, caller: Caller, lost: Callable[[WrongInstallation], None]
    ) -> None:
        super().__init__("reconcile-broker", installation, lost)
        self._passes: list[Pass] = [LostMessages(installation, caller), NodeLeftovers(installation, caller)]

    def look(self) -> None:
        for each in self._passes:
            self.one(each.run)

    def rest(self, began: float) -> None:
        """Until the next beat at least, and then until something is sent or a node ends."""
        super().rest(began)
        self.called.wait(max(0.0, began + self._beat * _UNASKED_BEATS - time.monotonic()))
        self.called.clear()


class _Rows(_Looks):
    """What the rows alone tell: beats that stand still, and work whose node is gone."""

    def __init__(
        self,
        installation: Installation,
        caller: Caller,
        lost: Callable[[WrongInstallation], None],
        broker: _Brokers,
    ) -> None:
        super().__init__("reconcile", installation, lost)
        self._installation = installation
        self._broker = broker
        self._lapses = Lapses(installation, caller)
        self._passes: list[Pass] = [Timeouts(installation, caller), Restarts(installation, caller)]
        self._unasked = 0
        self._were_lost = False
        self._lapse_no = -1

    def look(self) -> None:
        self.one(self._look)

    def _look(self) -> int:
        with self._installation.db.read() as c:
            seen = workload.look(c, round(OTHERS_SECONDS * 1000))
        lost = bool(self.one(lambda: self._lapses.see(seen.beats))) or seen.lost
        if seen.due:
            wakeup.notice()
        if seen.scheduled or seen.lapse_no != self._lapse_no:
            self._lapse_no = seen.lapse_no
            self._broker.called.set()
        self._unasked += 1
        # Once more after the last: a pass that remembers is to see that nothing is left.
        if not (lost or self._were_lost or self._unasked >= _UNASKED_BEATS):
            return 0
        self._unasked, self._were_lost = 0, lost
        return sum(self.one(each.run) for each in self._passes)


def start(installation: Installation, lost: Callable[[WrongInstallation], None]) -> Reconciler:
    """Start the reconciler of this process."""
    reconciler = Reconciler(installation, lost)
    reconciler.start()
    return reconciler
