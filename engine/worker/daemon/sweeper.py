"""This daemon's things that no live run owns are removed: list first, then read the rows (promise 10)."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from engine import failpoints
from engine.errors import RuntimeUnavailable, StoreUnavailable
from engine.lifecycle.installation import Installation
from engine.model.states import TaskState
from engine.runtime.base import Order, Resource, Runtime
from engine.store import attempts, nodes, tasks
from engine.worker.daemon.sandbox_pool import SandboxPool, sandbox_called

log = logging.getLogger("ferryman.sweep")

#: Runs that wait for their removal; beyond this the sweep finds them.
_MOST_WAITING = 1000
#: Beside the sweep: more at a time only wait for one another in Docker.
_REMOVERS = 3
_EVERY_SECONDS = 5.0
#: Between two sweeps that find nothing while nothing runs anywhere: to list a daemon's things takes 6 ms of processor.
_AT_REST_SECONDS = 15.0
#: So many sweeps in a row that removed nothing are a rest.
_CALM_SWEEPS = 2


@dataclass(frozen=True)
class Owners:
    """How the owners of some things stand, read after the things were listed."""

    #: Task id -> (state, attempt, delivery, origin).
    tasks: Mapping[str, tuple[TaskState, int, int, int]] = field(default_factory=dict)
    #: Sandboxes that attempts which run now have joined, or will.
    sandboxes: Set[str] = frozenset()
    #: Nodes that look after their unused sandboxes themselves.
    nodes: Set[str] = frozenset()


def stale(things: Iterable[Resource], owners: Owners, kept: Set[str] = frozenset()) -> list[Resource]:
    """Those that nobody owns. `kept` names the sandboxes that this node has ready.

    A run's: its task is unknown, not RUNNING, or its row names another attempt or origin; a lapse makes no run dead.
    A sandbox: no live attempt names it, and its node is gone or, being this one, does not keep it.
    """
    found = []
    for thing in things:
        if thing.kind == "sandbox":
            is_owned = thing.name in kept or thing.name in owners.sandboxes or thing.node in owners.nodes
        else:
            task_id = thing.run.task_id if thing.run is not None else ""
            state, attempt, _, origin = owners.tasks.get(task_id, (None, 0, 0, 0))
            is_owned = state is TaskState.RUNNING and thing.run == (task_id, attempt, origin)
        if not is_owned:
            found.append(thing)
    return found


def read_owners(installation: Installation, things: Sequence[Resource], me: str = "") -> Owners:
    """How the owners of these things stand now. `me` is this node, whose sandboxes its own memory tells."""
    ids = sorted({thing.run.task_id for thing in things if thing.run is not None})
    makers = {thing.node for thing in things if thing.kind == "sandbox"}
    found: dict[str, tuple[TaskState, int, int, int]] = {}
    with installation.db.read() as c:
        for start in range(0, len(ids), 500):
            found |= tasks.states(c, ids[start : start + 500])
        if not makers:
            return Owners(found)
        living = {node.id for node in nodes.beating(c)} - {me}
        return Owners(found, attempts.sandboxes(c), living & makers)


class Sweeper:
    """The threads that remove: some at once what a finisher names, one every few seconds what nobody owns."""

    def __init__(
        self, installation: Installation, runtime: Runtime, sandboxes: SandboxPool, doubt: threading.Event
    ) -> None:
        """`doubt` is set when the daemon did not answer: the node's thread then asks it."""
        self._sandboxes = sandboxes
        self._doubt = doubt
        self._installation = installation
        self._runtime = runtime
        self._runs: queue.Queue[Order] = queue.Queue(_MOST_WAITING)
        self._asked = threading.Event()
        self._calm = 0

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._sweep_on, name="sweep", daemon=True).start()
        for n in range(_REMOVERS):
            threading.Thread(target=self._remove_on, name=f"remove-{n}", daemon=True).start()

    def soon(self) -> None:
        """Sweep at once: something was cancelled or refused."""
        self._asked.set()

    def wake(self) -> None:
        """Something runs somewhere, or a node ended: the sweep rests no more."""
        if self._calm >= _CALM_SWEEPS:
            self._asked.set()
        self._calm = 0

    def remove_run(self, order: Order) -> None:
        """The run of this order has ended, and its end is committed: its containers and volumes may go."""
        try:
            self._runs.put_nowait(order)
        except queue.Full:
            log.debug("more than %d runs wait for their removal: the sweep will find them", _MOST_WAITING)

    def sweep(self) -> int:
        """Remove what no live run owns; says how many things. Raises RuntimeUnavailable, StoreUnavailable."""
        existing = self._sandboxes.existing()
        # A directory outlives a container that was removed by hand, or whose remover died.
        things = self._runtime.list(with_directories=True)
        self._sandboxes.drop_dead(existing, things)
        # Before the rows: one that a claim takes meanwhile is named by a row that is read after.
        kept, me = self._sandboxes.kept(), self._sandboxes.node
        gone = (
            self._runtime.remove(stale(things, read_owners(self._installation, things, me), kept))
            if things
            else 0
        )
        if gone:
            failpoints.hit("remove.done")
        self._runtime.remove_orphans()
        return gone

    def _remove_on(self) -> None:
        while True:
            order = self._runs.get()
            with self._unharmed("a run is not removed"):
                self._runtime.remove(run_things(order))
                failpoints.hit("remove.done")

    def _sweep_on(self) -> None:
        while True:
            self._asked.wait(_AT_REST_SECONDS if self._calm >= _CALM_SWEEPS else _EVERY_SECONDS)
            self._asked.clear()
            with self._unharmed("not swept"):
                self._calm = 0 if self.sweep() else self._calm + 1

    @contextlib.contextmanager
    def _unharmed(self, what: str) -> Iterator[None]:
        """An error ends no thread: what stays is found by the next sweep."""
        try:
            yield
        except (RuntimeUnavailable, StoreUnavailable) as exc:
            if isinstance(exc, RuntimeUnavailable):
                self._doubt.set()
            log.debug("%s: %s", what, exc)
        except Exception:
            log.exception(what)


def run_things(order: Order) -> list[Resource]:
    """The containers (links 0 … this one), volumes and sandbox of a run; their names are known without a look."""
    containers = [replace(order, index=n).name for n in range(order.index + 1)]
    volumes = [name for name, _ in order.volumes]
    sandboxes = [sandbox_called(order.sandbox)] if order.sandbox else []
    return [
        *(Resource("container", name, name, order.run, n, "exited") for n, name in enumerate(containers)),
        *(Resource("volume", name, name, order.run) for name in volumes),
        *sandboxes,
    ]
