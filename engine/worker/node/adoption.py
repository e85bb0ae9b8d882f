"""Adopter: takes over the work that lapsed and left nodes have on this daemon, and retakes this node's orphans.

The order of the steps is the proof (see docs/protocol.rst): the lapse number is read before the rows, the rows before
the daemon's list, and `looked` is written only after the take-overs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine import failpoints
from engine.errors import FerrymanError
from engine.lifecycle import nodes as verbs
from engine.lifecycle.claim import resume
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.records import RunKey, Task, Token
from engine.model.states import NodeState
from engine.runtime.base import Resource
from engine.store import nodes, tasks
from engine.worker.context import WorkerContext
from engine.worker.daemon.sweeper import read_owners, running_beside, unowned
from engine.worker.execute.link_run import LinkRun
from engine.worker.execute.task import send_next
from engine.worker.node.deferral import Deferral

log = logging.getLogger("ferryman.adoption")

#: A row of this node that has had no thread for this long is an orphan: its message or its thread was lost.
_ORPHAN_SECONDS = 3.0
_LONGEST_BACKOFF_SECONDS = 60.0

#: RUNNING tasks whose node is gone, each with the node's lapse number and state.
LostTasks = Sequence[tuple[Task, int, NodeState]]


@dataclass(frozen=True)
class TakeOvers:
    """Result of the take-overs of one pass or join."""

    #: No take-over was refused.
    all_taken: bool
    #: Lapse numbers of the tasks that were left to other workers.
    deferred: tuple[int, ...]

    def looked(self, number: int) -> int:
        """Return the lapse number to store in `looked`: `number`, or one below the oldest deferred."""
        return min([number, *(lapse_no - 1 for lapse_no in self.deferred)])


class Adopter:
    """Passes and joins of one worker process. Used by the node's thread only."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._deferral = Deferral(context.installation, context.runtime)
        #: Task id -> (since when the row has no thread, seconds until it is retaken).
        self._orphans: dict[str, tuple[float, float]] = {}

    def look(self) -> None:
        """Make one pass. Raise RuntimeUnavailable when the daemon is silent, StoreUnavailable.

        The daemon is asked only while a lapsed or left node has a task.
        """
        context = self._context
        number, lost = self._read()
        if lost:
            number = self._take_over(context.runtime.list(), lost).looked(number)
        with context.installation.db.read() as c:
            me = nodes.get(c, context.node_id)
        if me is not None and me.looked < number:
            verbs.looked(context.installation, context.caller, number)

    def join(self) -> bool:
        """Take over lost tasks and become LIVE; return False when it must be repeated.

        A container of a former run, whose task goes on, is removed before; whatever else nobody owns is the sweep's,
        so that a host full of leftovers, or one that Docker cannot remove, keeps no worker from its work.
        """
        context = self._context
        number, _ = self._read()
        resources = context.runtime.list()
        # Owners are read after the list: what was claimed in between has an owner.
        owners = read_owners(context.installation, resources)
        leftovers = unowned(resources, owners, context.sandboxes.unclaimed())
        context.runtime.remove(running_beside(leftovers, owners))
        if leftovers:
            context.sweeper.sweep_soon()
        _, lost = self._read()
        result = self._take_over(resources, lost)
        if not result.all_taken:
            return False
        return verbs.become_live(context.installation, context.caller, result.looked(number))

    def _read(self) -> tuple[int, LostTasks]:
        with self._context.installation.db.read() as c:
            return nodes.last_lapse(c), tasks.lost(c)

    def _take_over(self, resources: Iterable[Resource], lost: LostTasks) -> TakeOvers:
        """Take over the lost tasks that have a container or volume here, except those deferred for now."""
        by_run: dict[RunKey | None, list[Resource]] = {}
        for resource in resources:
            by_run.setdefault(resource.run, []).append(resource)
        all_taken, deferred = True, []
        self._deferral.keep_only([task.token for task, _, _ in lost])
        for task, number, former in lost:
            present = by_run.get(task.run)
            if present is None:
                continue
            if self._deferral.defers(task, former, present):
                deferred.append(number)
                continue
            context = self._context
            token = take_over(context.installation, context.caller, task.token, _reason(present))
            if token is None:
                all_taken = False
            else:
                failpoints.hit("take_over.committed")
                self._start_thread(token)
        return TakeOvers(all_taken, tuple(deferred))

    def retake_orphans(self) -> None:
        """Retake this node's rows that no thread works on, after 3 s, then after 6, 12 … 60 s."""
        context, installation, now = self._context, self._context.installation, time.monotonic()
        with installation.db.read() as c:
            mine = tasks.of_node(c, context.node_id)
        ids = {task.id for task in mine}
        self._orphans = {id: orphan for id, orphan in self._orphans.items() if id in ids}
        for task in mine:
            is_running = context.running.has_task(task.id)
            if is_running and task.id not in self._orphans:
                continue
            since, wait = self._orphans.setdefault(task.id, (now, _ORPHAN_SECONDS))
            if is_running:
                # A task that was an orphan before keeps its wait until it ends.
                self._orphans[task.id] = (now, wait)
            elif now - since >= wait:
                reason = context.running.why_lost(task.id) or "it had no thread here"
                token = self_take_over(installation, context.caller, task.token, reason)
                self._orphans[task.id] = (now, min(_LONGEST_BACKOFF_SECONDS, wait * 2))
                if token is not None:
                    failpoints.hit("self_take_over.committed")
                    self._start_thread(token)

    def _start_thread(self, token: Token) -> None:
        name = f"adopted-{token.task_id[:8]}"
        threading.Thread(target=self._run_adopted, args=(token,), name=name, daemon=True).start()

    def _run_adopted(self, token: Token) -> None:
        """Continue a task that is this node's now, in a thread beside the pool that counts as a slot."""
        context = self._context
        context.intake.count_adopted(1)
        try:
            assignment = resume(context.installation, context.caller, token)
            if assignment is None:
                return
            finished = LinkRun(context, assignment).run()
            if finished is not None:
                send_next(context, finished, chain_sends=False)
        except FerrymanError as exc:
            log.warning("adopted task %s: let go, a later pass retakes it: %s", token.task_id, exc)
        except Exception:
            # The row still names this node: a later pass retakes it.
            log.exception("adopted task %s", token.task_id)
        finally:
            context.intake.count_adopted(-1)


def _reason(resources: Sequence[Resource]) -> str:
    """Return the reason of a take-over, for its event."""
    containers = [resource for resource in resources if resource.kind == "container"]
    if not containers:
        return "its volume is here"
    last = max(containers, key=lambda container: container.index or 0)
    state = "still runs" if last.state == "running" else f"is {last.state}"
    return f"container {last.id[:12]} {state}"
