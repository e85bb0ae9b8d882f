"""This daemon's things that no live run owns are removed: list first, then read the rows (promise 10)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from engine.errors import RuntimeUnavailable, StoreUnavailable
from engine.lifecycle.site import Site
from engine.model.states import TaskState
from engine.runtime.base import Order, Runtime, Thing
from engine.store import tasks
from engine.telemetry import crash

log = logging.getLogger("ferryman.sweep")

#: Runs that wait for their removal; beyond this the sweep finds them.
_MOST_WAITING = 1000
_EVERY_SECONDS = 5.0


def stale(things: Iterable[Thing], states: Mapping[str, tuple[TaskState, int, int, int]]) -> list[Thing]:
    """Those that no live run owns: unknown, not RUNNING, or of another attempt or origin than the row's.

    A lapse makes no run dead. `states` were read after the things were listed.
    """
    found = []
    for thing in things:
        state, attempt, _, origin = states.get(thing.task_id, (None, 0, 0, 0))
        if state is not TaskState.RUNNING or (thing.attempt, thing.origin) != (attempt, origin):
            found.append(thing)
    return found


def read_states(site: Site, things: Sequence[Thing]) -> dict[str, tuple[TaskState, int, int, int]]:
    """How the tasks of these things stand now."""
    ids = sorted({thing.task_id for thing in things})
    found: dict[str, tuple[TaskState, int, int, int]] = {}
    with site.db.read() as c:
        for start in range(0, len(ids), 500):
            found |= tasks.states(c, ids[start : start + 500])
    return found


class Sweeper:
    """The thread that removes: at once what a finisher names, every few seconds what nobody owns."""

    def __init__(self, site: Site, runtime: Runtime, doubt: threading.Event) -> None:
        """`doubt` is set when the daemon did not answer: the node's thread then asks it."""
        self._doubt = doubt
        self._site = site
        self._runtime = runtime
        self._runs: queue.Queue[Order | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def soon(self) -> None:
        """Sweep at once: something was cancelled or refused."""
        self._put(None)

    def remove_run(self, order: Order) -> None:
        """The run of this order has ended, and its end is committed: its containers and volumes may go."""
        self._put(order)

    def _put(self, order: Order | None) -> None:
        try:
            self._runs.put_nowait(order)
        except queue.Full:
            log.debug("more than %d runs wait for their removal: the sweep will find them", _MOST_WAITING)

    def sweep(self) -> int:
        """Remove what no live run owns; says how many things. Raises RuntimeUnavailable, StoreUnavailable."""
        # A directory outlives a container that was removed by hand, or whose remover died.
        things = [*self._runtime.list(), *self._runtime.directories()]
        gone = self._runtime.remove(stale(things, read_states(self._site, things))) if things else 0
        if gone:
            crash.point("remove.done")
        self._runtime.tidy()
        return gone

    def _run(self) -> None:
        swept = time.monotonic()
        while True:
            order = None
            asked = False
            try:
                order = self._runs.get(timeout=max(0.05, swept + _EVERY_SECONDS - time.monotonic()))
                asked = order is None
            except queue.Empty:
                asked = True
            try:
                if order is not None:
                    self._runtime.remove(run_things(order))
                    crash.point("remove.done")
                if asked:
                    swept = time.monotonic()
                    self.sweep()
            except (RuntimeUnavailable, StoreUnavailable) as exc:
                if isinstance(exc, RuntimeUnavailable):
                    self._doubt.set()
                log.debug("not swept: %s", exc)
                swept = time.monotonic()
            except Exception:
                log.exception("sweep")
                swept = time.monotonic()


def run_things(order: Order) -> list[Thing]:
    """The containers (links 0 … this one) and volumes that a run has; their names are known without a look."""
    whose = (order.task_id, order.attempt, order.origin)
    base = order.name.rsplit("-", 1)[0]
    containers = [
        Thing("container", f"{base}-{n}", f"{base}-{n}", *whose, n, "exited") for n in range(order.index + 1)
    ]
    return containers + [Thing("volume", name, name, *whose, None, "") for name, _ in order.volumes]
