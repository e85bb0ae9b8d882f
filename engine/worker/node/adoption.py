"""A node's pass over its daemon: what lapsed or left nodes had here is taken over, and my own loose ends too.

The order of the steps is the proof (protocol 2, pass): the lapse number is read before the rows, the rows
before the list, and `looked` is written only when all that was found has been taken over.
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
from engine.worker.daemon.sweeper import read_owners, stale
from engine.worker.execute.link_run import LinkRun
from engine.worker.execute.task import send_next
from engine.worker.node.deferral import Deferral

log = logging.getLogger("ferryman.adopt")

#: My own row has no thread for this long: its message is lost, or its thread was.
_LOOSE_SECONDS = 3.0
_LONGEST_BACKOFF_SECONDS = 60.0


#: RUNNING tasks whose node is gone, each with the node's lapse number and state.
Lost = Sequence[tuple[Task, int, NodeState]]


@dataclass(frozen=True)
class Taken:
    """What became of the lost tasks of which something is here."""

    #: None was refused.
    all: bool
    #: Lapse numbers of those that are left to others for now.
    left: tuple[int, ...]

    def looked(self, number: int) -> int:
        """How far this node has looked that read this lapse number before: what it left it has not looked for."""
        return min([number, *(one - 1 for one in self.left)])


class Adopter:
    """Passes and joins of one worker process; called by the node's thread only."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._deferral = Deferral(context.installation, context.runtime)
        #: task id -> (since when it is loose, how long it must be so before it is taken up).
        self._loose: dict[str, tuple[float, float]] = {}

    def look(self) -> None:
        """One pass. Raises RuntimeUnavailable when the daemon is silent, StoreUnavailable.

        Where no lapsed node has a task, there is nothing to find, and the daemon is not asked.
        """
        context = self._context
        number, lost = self._read()
        if lost:
            number = self._take(context.runtime.list(), lost).looked(number)
        with context.installation.db.read() as c:
            me = nodes.get(c, context.node_id)
        if me is not None and me.looked < number:
            verbs.looked(context.installation, context.node_id, number)

    def join(self) -> bool:
        """Remove what is stale, take over what is found, become LIVE; False when it must begin again."""
        context = self._context
        number, _ = self._read()
        things = context.runtime.list()
        # Rows are read after the list: what was claimed in between is not stale.
        context.runtime.remove(
            stale(things, read_owners(context.installation, things), context.sandboxes.kept())
        )
        with context.installation.db.read() as c:
            lost = tasks.lost(c)
        taken = self._take(things, lost)
        if not taken.all:
            return False
        return verbs.become_live(context.installation, context.node_id, taken.looked(number))

    def _read(self) -> tuple[int, Lost]:
        with self._context.installation.db.read() as c:
            return nodes.last_lapse(c), tasks.lost(c)

    def _take(self, things: Iterable[Resource], lost: Lost) -> Taken:
        """Take over the lost tasks of which something is here, but for those that are left to others for now."""
        found: dict[RunKey | None, list[Resource]] = {}
        for thing in things:
            found.setdefault(thing.run, []).append(thing)
        all_taken, left = True, []
        self._deferral.keep([task.token for task, _, _ in lost])
        for task, number, former in lost:
            context = found.get(task.run)
            if context is None:
                continue
            if self._deferral.defers(task, former, context):
                left.append(number)
                continue
            token = take_over(
                self._context.installation, task.token, self._context.node_id, _in_words(context)
            )
            if token is None:
                all_taken = False
            else:
                failpoints.hit("take_over.committed")
                self._go_on(token)
        return Taken(all_taken, tuple(left))

    def retake_orphans(self) -> None:
        """Take up my own rows that no thread works on: a message or a thread was lost."""
        context, now = self._context, time.monotonic()
        with context.installation.db.read() as c:
            mine = tasks.of_node(c, context.node_id)
        loose = {task.id: task for task in mine if not context.running.holds(task.id)}
        self._loose = {id: kept for id, kept in self._loose.items() if any(task.id == id for task in mine)}
        for id, task in loose.items():
            since, wait = self._loose.setdefault(id, (now, _LOOSE_SECONDS))
            if now - since < wait:
                continue
            token = self_take_over(context.installation, task.token, context.node_id, "it had no thread here")
            self._loose[id] = (now, min(_LONGEST_BACKOFF_SECONDS, wait * 2))
            if token is not None:
                failpoints.hit("self_take_over.committed")
                self._go_on(token)
        for id in [id for id in self._loose if id not in loose]:
            since, wait = self._loose[id]
            self._loose[id] = (now, wait)

    def _go_on(self, token: Token) -> None:
        threading.Thread(
            target=self._carry, args=(token,), name=f"adopted-{token.task_id[:8]}", daemon=True
        ).start()

    def _carry(self, token: Token) -> None:
        """Go on with a task that is mine now, in a thread beside the pool; it counts as a slot."""
        context = self._context
        if context.window is not None:
            context.window.adopt(1)
        try:
            assignment = resume(context.installation, token, context.node_id)
            if assignment is None:
                return
            finished = LinkRun(context, assignment).run()
            if finished is not None:
                send_next(context, finished, chain_sends=False)
        except FerrymanError as exc:
            log.warning("adopted %s: %s", token.task_id, exc)
        except Exception:
            # The row names this node still: the next pass takes it up again.
            log.exception("adopted %s", token.task_id)
        finally:
            if context.window is not None:
                context.window.adopt(-1)


def _in_words(things: Sequence[Resource]) -> str:
    containers = [thing for thing in things if thing.kind == "container"]
    if not containers:
        return "its volume is here"
    last = max(containers, key=lambda thing: thing.index or 0)
    still = "still runs" if last.state == "running" else f"is {last.state}"
    return f"container {last.id[:12]} {still}"
