"""Lanes: the threads in which the reconciler's passes run. Safety is in the WHERE of each verb, not in the order.

The lane of the rows takes one short look per beat, which says which passes have work; without a call they run every
thirty beats. The broker has a lane of its own: when its packets are lost, each call waits for seconds, and a thread
that watches beats with such gaps would see no node lapse (engine/reconcile/lapses.py).
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence

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

#: Beats between two runs of a pass that nothing calls for: a look may miss what nobody thought of.
UNCALLED_BEATS = 30

#: Looks once, and calls a verb for each difference.
Pass = Callable[[], object]
#: Receives the error when the broker turns out to be another installation's.
OnWrongBroker = Callable[[WrongInstallation], None]


class Lane(threading.Thread):
    """Thread that runs its passes one after another, at most once per beat; a failed pass stops no other."""

    def __init__(
        self,
        name: str,
        passes: Sequence[Pass],
        beat_seconds: float,
        on_wrong_broker: OnWrongBroker,
        called: threading.Event | None = None,
    ) -> None:
        """Create a lane; with `called` it waits for that event between two rounds, at most UNCALLED_BEATS."""
        super().__init__(name=name, daemon=True)
        self._passes, self._beat_seconds, self._on_wrong_broker = passes, beat_seconds, on_wrong_broker
        self._called = called
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the thread after its present round."""
        self._stopping.set()
        if self._called is not None:
            self._called.set()

    def run(self) -> None:
        """Run the passes until stopped."""
        while not self._stopping.is_set():
            began = time.monotonic()
            for run_pass in self._passes:
                self._run(run_pass)
            # A little early, and each process differently: never all processes at once.
            next_beat = began + self._beat_seconds * random.uniform(0.9, 1)
            self._stopping.wait(max(0.01, next_beat - time.monotonic()))
            if self._called is not None:
                self._called.wait(max(0.0, began + self._beat_seconds * UNCALLED_BEATS - time.monotonic()))
                self._called.clear()

    def _run(self, run_pass: Pass) -> None:
        try:
            run_pass()
        except StoreUnavailable as exc:
            log.warning("not reconciled: %s", exc)
        except WrongInstallation as exc:
            self._on_wrong_broker(exc)
        except Exception:
            # A defect in one pass must not stop the others.
            log.exception("reconcile")


class RowPasses:
    """Passes over the rows: a look at all that may call for the others, then each pass that is called."""

    def __init__(self, installation: Installation, caller: Caller, broker_called: threading.Event) -> None:
        self._installation, self._broker_called = installation, broker_called
        self._lapses = Lapses(installation, caller)
        timeouts, restarts = Timeouts(installation, caller), Restarts(installation, caller)
        self.passes = (
            self._look,
            self._end_lapsed,
            self._if_called(timeouts.run),
            self._if_called(restarts.run),
        )
        self._seen: workload.Workload | None = None
        self._beats, self._lapse_no = 0, -1
        self._is_called = self._was_called = False

    def _look(self) -> None:
        self._seen = None
        with self._installation.db.read() as c:
            self._seen = seen = workload.read(c, round(OTHERS_SECONDS * 1000))
        self._beats += 1
        self._was_called, self._is_called = self._is_called, seen.lost
        if seen.due:
            wakeup.report_overdue()
        if seen.scheduled or seen.lapse_no != self._lapse_no:
            self._lapse_no = seen.lapse_no
            self._broker_called.set()

    def _end_lapsed(self) -> None:
        if self._seen is not None and self._lapses.see(self._seen.beats):
            self._is_called = True

    def _if_called(self, run_pass: Pass) -> Pass:
        def run_if_called() -> None:
            # Once more after the last call: a pass that remembers must see that nothing is left.
            called = self._is_called or self._was_called or self._beats % UNCALLED_BEATS == 0
            if self._seen is not None and called:
                run_pass()

        return run_if_called


class Reconciler:
    """Reconciler of this process: one lane for the rows, one for the broker."""

    def __init__(self, installation: Installation, on_wrong_broker: OnWrongBroker) -> None:
        caller, called = Caller("reconciler", socket.gethostname()), threading.Event()
        beat = installation.settings.cluster.beat_seconds
        rows = RowPasses(installation, caller, called)
        broker = (LostMessages(installation, caller).run, NodeLeftovers(installation, caller).run)
        self._lanes = (
            Lane("reconcile", rows.passes, beat, on_wrong_broker),
            Lane("reconcile-broker", broker, beat, on_wrong_broker, called),
        )

    def start(self) -> None:
        """Start the lanes."""
        for lane in self._lanes:
            lane.start()

    def stop(self) -> None:
        """End the lanes after their present rounds."""
        for lane in self._lanes:
            lane.stop()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end of each lane, for at most `seconds` each."""
        for lane in self._lanes:
            lane.join(seconds)


def start(installation: Installation, on_wrong_broker: OnWrongBroker) -> Reconciler:
    """Start the reconciler of this process; `on_wrong_broker` gets the error of another installation's broker."""
    reconciler = Reconciler(installation, on_wrong_broker)
    reconciler.start()
    return reconciler
