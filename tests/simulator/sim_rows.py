"""Rows of a simulated installation, read only after changes, in an order that a seed repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.nodes import BeatAnswer
from engine.model.records import Link, Node, Task, Token
from engine.model.states import NodeState, TaskState
from engine.runtime.base import Order
from engine.store import links, nodes, outbox, tables, tasks
from tests.simulator.counting_database import CountingDatabase
from tests.support.callers import TESTER, by
from tests.support.verb_world import World

T = TypeVar("T")
R = TypeVar("R", Task, Node)

#: An answer is asked again after so many uses: on PostgreSQL `due` depends on the clock too.
_MOST_USES = 50
_SET_BEAT = tables.nodes.update().where(tables.nodes.c.id == sa.bindparam("the_node"))
_AT_ATTEMPT = sa.and_(
    tables.attempts.c.task_id == sa.bindparam("the_task"),
    tables.attempts.c.attempt == sa.bindparam("the_attempt"),
)
_AGE = (
    tables.attempts.update()
    .where(_AT_ATTEMPT)
    .values(started_at=tables.attempts.c.started_at - 2 * 3600 * 1000)
)


class Rows:
    """Cache of the rows that every process of a run reads, renewed when one of their tables changed."""

    def __init__(self, world: World, db: CountingDatabase) -> None:
        self.world, self._db = world, db
        self._known: dict[str, tuple[int, int, Any]] = {}
        self._beats: Counter[str] = Counter()
        #: The attempts whose time is over: (task id, attempt).
        self.late: set[tuple[str, int]] = set()

    def lost(self) -> tuple[int, list[tuple[Task, int]]]:
        """Return the last lapse number, and then the lost tasks with their nodes' numbers."""

        def ask(c: sa.Connection) -> tuple[int, list[tuple[Task, int]]]:
            number = nodes.last_lapse(c)
            return number, sorted(((task, n) for task, n, _ in tasks.lost(c)), key=lambda one: one[0].name)

        return self._ask("lost", ask, "tasks", "lapses")

    def of_node(self, node_id: str) -> list[Task]:
        """Return the RUNNING tasks that name this node."""
        return self._ask(f"of {node_id}", lambda c: _by_name(tasks.of_node(c, node_id)), "tasks")

    def due(self) -> list[Task]:
        """Return the tasks that must be sent."""
        return self._ask("due", lambda c: _by_name(outbox.due(c, 50)), "tasks")

    def scheduled(self) -> list[Task]:
        """Return the tasks that were sent and not claimed."""
        return self._ask("scheduled", lambda c: _by_name(outbox.scheduled(c, 50)), "tasks")

    def task(self, task_id: str) -> Task:
        """Return a task's row."""
        return self._ask(f"task {task_id}", lambda c: tasks.get(c, task_id), "tasks")  # type: ignore[return-value]

    def node(self, node_id: str) -> Node:
        """Return a node's row; its beat may be an older one."""
        return self._ask(f"node {node_id}", lambda c: nodes.get(c, node_id), "nodes")  # type: ignore[return-value]

    def _beating(self) -> list[Node]:
        return self._ask("beating", nodes.beating, "nodes")

    def serves(self, daemon: str, also: NodeState = NodeState.LIVE) -> bool:
        """Return whether the rows have a LIVE node on this daemon whose Docker answers."""
        return any(
            node.state in (NodeState.LIVE, also) and node.runtime_ok and f"@{daemon}." in node.id
            for node in self._beating()
        )

    # Beats: all of them count, and one with nothing to tell is written only when its node lapses.

    def beat(self, node_id: str, running: list[Token]) -> BeatAnswer | None:
        """Beat once; return None when the node counts and all its running links are as expected."""
        self._beats[node_id] += 1
        held = [self.task(token.task_id) for token in running]
        well = (
            all(task.state is TaskState.RUNNING for task in held) and [task.token for task in held] == running
        )
        if well and self.node(node_id).state.has_beat:
            return None
        # Nothing here depends on a beat but `beating`, which counts for itself.
        with self._db.unseen("nodes"):
            return node_verbs.beat(self.world.installation, by(node_id), [token.task_id for token in running])

    def beats(self) -> list[tuple[str, int]]:
        """Return the nodes whose beat is watched, each with its beat."""
        return [(id, self._beats[id]) for id in sorted(node.id for node in self._beating())]

    def lapse(self, node_id: str, beat: int) -> bool:
        """End a node whose beat stood still."""
        with self._db.unseen("nodes"), self.world.db.begin() as c:
            c.execute(_SET_BEAT, {"the_node": node_id, "beat": self._beats[node_id]})
        with self.world.db.read() as c:
            seen = nodes.get(c, node_id)
        assert seen is not None
        return node_verbs.lapse(self.world.installation, TESTER, replace(seen, beat=beat))

    # Clocks: that of the database stands still, so an attempt grows old by its own record.

    def hour_passes(self, task_id: str) -> None:
        """Let the attempt's time pass, if the attempt has begun."""
        task = self.task(task_id)
        of = {"the_task": task_id, "the_attempt": task.attempt}
        with self.world.db.begin() as c:
            if c.execute(_AGE, of).rowcount:
                self.late.add((task_id, task.attempt))

    def overdue(self) -> list[Task]:
        """Return the tasks that a reconciler may time out."""
        return self._ask("overdue", lambda c: _by_name(tasks.overdue(c)), "tasks", "nodes", "attempts")

    def _ask(self, what: str, ask: Callable[[Any], T], *of: str) -> T:
        version = sum(map(self._db.changes, of))
        known, uses, answer = self._known.get(what, (-1, 0, None))
        if known != version or uses >= _MOST_USES:
            with self.world.db.read() as c:
                uses, answer = 0, ask(c)
        self._known[what] = (version, uses + 1, answer)
        return answer  # type: ignore[return-value]

    def run_of(self, one: Task | Order) -> list[Link]:
        """Return the links of the run."""
        with self.world.db.read() as c:
            return links.of_run(c, one.run)

    def as_they_are(self) -> tuple[int, int]:
        """Return a value that stays the same until a task or a node changes."""
        return self._db.changes("tasks"), self._db.changes("nodes")

    def nodes_as_they_are(self) -> int:
        """Return a number that stays the same until a node changes."""
        return self._db.changes("nodes")


class Snapshot(Rows):
    """Answers from all rows of three tables, which are few, and whose clock stands still."""

    _TASKS = sa.select(tables.tasks).order_by(tables.tasks.c.name)
    _NODES = sa.select(tables.nodes)
    _LAST = sa.select(tables.lapses.c.last)

    def lost(self) -> tuple[int, list[tuple[Task, int]]]:
        """Return what the query would."""
        number = self._ask("last", lambda c: c.scalar(self._LAST), "lapses")
        found = []
        for task in self._running():
            node = self._nodes().get(task.node or "")
            if node is not None and node.state.is_gone:
                found.append((task, node.lapse_no or 0))
        return int(number or 0), found

    def of_node(self, node_id: str) -> list[Task]:
        """Return what the query would."""
        return [task for task in self._running() if task.node == node_id]

    def due(self) -> list[Task]:
        """Return what the query would."""
        return [task for task in self._tasks().values() if task.state is TaskState.PENDING]

    def scheduled(self) -> list[Task]:
        """Return what the query would."""
        return [task for task in self._tasks().values() if task.state is TaskState.SCHEDULED]

    def overdue(self) -> list[Task]:
        """Return what the query would; run it only when there may be a result."""
        maybe = any((task.id, task.attempt) in self.late for task, _ in self.lost()[1])
        return super().overdue() if maybe else []

    def task(self, task_id: str) -> Task:
        """Return what the query would."""
        return self._tasks()[task_id]

    def node(self, node_id: str) -> Node:
        """Return what the query would."""
        return self._nodes()[node_id]

    def _beating(self) -> list[Node]:
        return [node for node in self._nodes().values() if node.state.has_beat]

    def _running(self) -> list[Task]:
        return [task for task in self._tasks().values() if task.state is TaskState.RUNNING]

    def _tasks(self) -> dict[str, Task]:
        return self._ask("tasks", lambda c: _by_id(c.records(self._TASKS, tasks.record)), "tasks")

    def _nodes(self) -> dict[str, Node]:
        return self._ask("nodes", lambda c: _by_id(c.records(self._NODES, nodes.record)), "nodes")


def _by_name(found: Iterable[Task]) -> list[Task]:
    return sorted(found, key=lambda task: task.name)


def _by_id(found: Iterable[R]) -> dict[str, R]:
    return {one.id: one for one in found}
