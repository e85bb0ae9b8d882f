"""Removal of this daemon's resources that no live run owns: the daemon is listed first, then the rows are read."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from engine import failpoints
from engine.errors import RuntimeUnavailable, StoreUnavailable
from engine.lifecycle.installation import Installation
from engine.model.states import TaskState
from engine.runtime.base import Order, Resource, Runtime
from engine.store import attempts, last_words, nodes, tasks
from engine.worker.daemon.sandbox_pool import SandboxPool
from engine.worker.running import RunningLinks

log = logging.getLogger("ferryman.sweep")

#: Ended runs that can wait for their removal; the sweep finds further ones.
_MOST_WAITING = 1000
#: Threads that remove ended runs: with more, they would only wait for one another in Docker.
_REMOVERS = 3
_EVERY_SECONDS = 5.0
#: The slow interval, while nothing runs anywhere: a list of a daemon's resources takes 6 ms of processor time.
_SLOW_SECONDS = 15.0
#: After this many empty sweeps, sweep at the slow interval.
_EMPTY_SWEEPS = 2


@dataclass(frozen=True)
class Owners:
    """The owners of some resources, read after the resources were listed."""

    #: Task id -> (state, attempt, delivery, origin).
    tasks: Mapping[str, tuple[TaskState, int, int, int]] = field(default_factory=dict)
    #: Cancelled tasks whose node may still read the last words of their container.
    speaking: Set[str] = frozenset()
    #: Sandboxes that the attempts running now have joined or will join.
    sandboxes: Set[str] = frozenset()
    #: Other nodes that beat, and look after their unused sandboxes themselves.
    nodes: Set[str] = frozenset()


def unowned(
    resources: Iterable[Resource], owners: Owners, unclaimed: Set[str] = frozenset()
) -> list[Resource]:
    """Return the resources that nobody owns. `unclaimed` names the sandboxes that this node has ready.

    A container, volume or directory has an owner while the row names its attempt and origin, and its task is RUNNING,
    whatever became of the node, or cancelled with a node that still reads the last words. A sandbox has one while a
    running attempt or this node names it, or its node beats.
    """
    result = []
    for resource in resources:
        if resource.kind == "sandbox":
            named = resource.name in unclaimed or resource.name in owners.sandboxes
            is_owned = named or resource.node in owners.nodes
        else:
            task_id = resource.run.task_id if resource.run is not None else ""
            state, attempt, _, origin = owners.tasks.get(task_id, (None, 0, 0, 0))
            is_needed = state is TaskState.RUNNING or task_id in owners.speaking
            is_owned = is_needed and resource.run == (task_id, attempt, origin)
        if not is_owned:
            result.append(resource)
    return result


def running_beside(resources: Iterable[Resource], owners: Owners) -> list[Resource]:
    """Return the containers among unowned resources that may run while their task goes on in another run.

    Only these must be gone before a node is LIVE: see docs/protocol.rst.
    """
    return [
        resource
        for resource in resources
        if resource.may_run and resource.run is not None and _goes_on(owners, resource.run.task_id)
    ]


def _goes_on(owners: Owners, task_id: str) -> bool:
    row = owners.tasks.get(task_id)
    return row is not None and not row[0].ended


def read_owners(
    installation: Installation,
    resources: Sequence[Resource],
    node_id: str = "",
    has_thread: Callable[[str], bool] = bool,
) -> Owners:
    """Read the owners of these resources.

    `node_id` is this node, whose pool knows its unused sandboxes; `has_thread` tells of a task whether a thread of
    this node still runs its link.
    """
    ids = sorted({resource.run.task_id for resource in resources if resource.run is not None})
    makers = {resource.node for resource in resources if resource.kind == "sandbox"}
    states: dict[str, tuple[TaskState, int, int, int]] = {}
    with installation.db.read() as c:
        for start in range(0, len(ids), 500):
            states |= tasks.states(c, ids[start : start + 500])
        cancelled = [id for id, row in states.items() if row[0] is TaskState.CANCELLED]
        nodes_of = last_words.speaking(c, cancelled, installation.last_words_ms)
        # A thread that let go reads no more; of another node's threads only the row tells.
        speaking = {id for id, node in nodes_of.items() if node != node_id or has_thread(id)}
        if not makers:
            return Owners(states, speaking)
        others = {node.id for node in nodes.beating(c)} - {node_id}
        return Owners(states, speaking, attempts.sandboxes(c), others & makers)


class Sweeper:
    """Threads that remove resources: ended runs at once, and every few seconds whatever nobody owns."""

    def __init__(
        self,
        installation: Installation,
        runtime: Runtime,
        sandboxes: SandboxPool,
        running: RunningLinks,
        in_doubt: threading.Event,
    ) -> None:
        """Make a sweeper that sets `in_doubt` when the daemon does not answer; the node's thread asks again then."""
        self._sandboxes = sandboxes
        self._running = running
        self._runtime_in_doubt = in_doubt
        self._installation = installation
        self._runtime = runtime
        self._ended_runs: queue.Queue[Order] = queue.Queue(_MOST_WAITING)
        self._requested = threading.Event()
        self._empty_sweeps = 0

    def start(self) -> None:
        """Start the threads."""
        threading.Thread(target=self._sweep_loop, name="sweep", daemon=True).start()
        for n in range(_REMOVERS):
            threading.Thread(target=self._remove_loop, name=f"remove-{n}", daemon=True).start()

    def sweep_soon(self) -> None:
        """Sweep at once: a run was cancelled, or its end was refused."""
        self._requested.set()

    def wake(self) -> None:
        """Leave the slow interval: a task runs somewhere, or a node ended."""
        if self._empty_sweeps >= _EMPTY_SWEEPS:
            self._requested.set()
        self._empty_sweeps = 0

    def remove_run(self, order: Order) -> None:
        """Remove the resources of an ended run in the background; its end must be committed."""
        try:
            self._ended_runs.put_nowait(order)
        except queue.Full:
            log.debug(
                "more than %d ended runs wait for their removal: the sweep will find them", _MOST_WAITING
            )

    def sweep(self) -> int:
        """Remove what nobody owns; return how many resources. Raise RuntimeUnavailable, StoreUnavailable."""
        expected = self._sandboxes.expected()
        # A directory outlives a container that somebody removed by hand, or whose remover died.
        resources = self._runtime.list(with_directories=True)
        self._sandboxes.drop_dead(expected, resources)
        # Read before the rows: a sandbox that a claim names meanwhile is in a row that is read after.
        unclaimed, node_id = self._sandboxes.unclaimed(), self._sandboxes.node
        removed = 0
        if resources:
            owners = read_owners(self._installation, resources, node_id, self._running.has_task)
            removed = self._runtime.remove(unowned(resources, owners, unclaimed))
        if removed:
            failpoints.hit("remove.done")
        self._runtime.remove_orphans()
        return removed

    def _remove_loop(self) -> None:
        while True:
            order = self._ended_runs.get()
            with self._errors_logged("an ended run is not removed, the sweep will find it"):
                self._runtime.remove(run_resources(order))
                failpoints.hit("remove.done")

    def _sweep_loop(self) -> None:
        while True:
            is_slow = self._empty_sweeps >= _EMPTY_SWEEPS
            self._requested.wait(_SLOW_SECONDS if is_slow else _EVERY_SECONDS)
            self._requested.clear()
            with self._errors_logged("no sweep, the next one finds what is left"):
                self._empty_sweeps = 0 if self.sweep() else self._empty_sweeps + 1

    @contextlib.contextmanager
    def _errors_logged(self, message: str) -> Iterator[None]:
        """Log an error in place of ending the thread: the next sweep finds what is left."""
        try:
            yield
        except (RuntimeUnavailable, StoreUnavailable) as exc:
            if isinstance(exc, RuntimeUnavailable):
                self._runtime_in_doubt.set()
            log.debug("%s: %s", message, exc)
        except Exception:
            log.exception(message)


def run_resources(order: Order) -> list[Resource]:
    """Return the containers (links 0 … this one), volumes and sandbox of a run, by name, without asking Docker."""
    containers = [replace(order, index=n).name for n in range(order.index + 1)]
    return [
        *(Resource("container", name, name, order.run, n, "exited") for n, name in enumerate(containers)),
        *(Resource("volume", name, name, order.run) for name, _ in order.volumes),
        *([Resource("sandbox", order.sandbox, order.sandbox)] if order.sandbox else ()),
    ]
