"""The rows of a simulated installation, read no oftener than they change, in an order that a seed repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.nodes import BeatAnswer
from engine.model.records import Node, Task, Token
from engine.model.states import NodeState, TaskState
from engine.store import nodes, outbox, tables, tasks
from tests.simulator.database import CountingDatabase
from tests.support.world import World

T = TypeVar("T")

#: An answer is asked again after so many uses: on PostgreSQL `due` depends on the clock too.
_MOST_USES = 50


class Rows:
    """What every process of one run reads again and again, asked again when one of its tables was changed."""

    def __init__(self, world: World, db: CountingDatabase) -> None:
        self.world, self._db = world, db
        self._known: dict[str, tuple[int, int, Any]] = {}
        self._beats: Counter[str] = Counter()

    def lost(self) -> tuple[int, list[tuple[Task, int]]]:
        """The last lapse number, and then the lost work with its node's number."""

        def ask(c: sa.Connection) -> tuple[int, list[tuple[Task, int]]]:
            number = nodes.last_lapse(c)
            return number, sorted(((task, n) for task, n, _ in tasks.lost(c)), key=lambda one: one[0].name)

        return self._ask("lost", ask, "tasks", "lapses")

    def of_node(self, node_id: str) -> list[Task]:
        """RUNNING tasks that name this node."""
        return self._ask(f"of {node_id}", lambda c: _by_name(tasks.of_node(c, node_id)), "tasks")

    def due(self) -> list[Task]:
        """What is to be sent."""
        return self._ask("due", lambda c: _by_name(outbox.due(c, 50)), "tasks")

    def scheduled(self) -> list[Task]:
        """What was sent and not claimed."""
        return self._ask("scheduled", lambda c: _by_name(outbox.scheduled(c, 50)), "tasks")

    def task(self, task_id: str) -> Task:
        """A task's row."""
        return self._ask(f"task {task_id}", lambda c: tasks.get(c, task_id), "tasks")  # type: ignore[return-value]

    def node(self, node_id: str) -> Node:
        """A node's row; its beat may be an older one."""
        return self._ask(f"node {node_id}", lambda c: nodes.get(c, node_id), "nodes")  # type: ignore[return-value]

    def _beating(self) -> list[Node]:
        return self._ask("beating", nodes.beating, "nodes")

    def serves(self, daemon: str, also: NodeState = NodeState.LIVE) -> bool:
        """A LIVE node whose Docker answers is on this daemon, as the rows have it."""
        return any(
            node.state in (NodeState.LIVE, also) and node.docker_ok and f"@{daemon}." in node.id
            for node in self._beating()
        )

    # Beats: all of them count, and one with nothing to tell is written only when its node lapses.

    def beat(self, node_id: str, hands: list[Token]) -> BeatAnswer | None:
        """One beat; None: the node counts, and all in its hands is as it should be."""
        self._beats[node_id] += 1
        held = [self.task(token.task_id) for token in hands]
        well = (
            all(task.state is TaskState.RUNNING for task in held) and [task.token for task in held] == hands
        )
        if well and self.node(node_id).state in nodes._BEATING:
            return None
        # Nothing here depends on a beat but `beating`, which counts for itself.
        with self._db.unseen("nodes"):
            return node_verbs.beat(self.world.site, node_id, [token.task_id for token in hands])

    def beating(self) -> list[Node]:
        """Whose beat is watched."""
        found = [replace(node, beat=self._beats[node.id]) for node in self._beating()]
        return sorted(found, key=lambda node: node.id)

    def lapse(self, seen: Node) -> bool:
        """End a node whose beat stood still."""
        at = tables.nodes
        with self._db.unseen("nodes"), self.world.db.begin() as c:
            c.execute(at.update().where(at.c.id == seen.id).values(beat=self._beats[seen.id]))
        return node_verbs.lapse(self.world.site, seen)

    def _ask(self, what: str, ask: Callable[[sa.Connection], T], *of: str) -> T:
        version = sum(map(self._db.changes, of))
        known, uses, answer = self._known.get(what, (-1, 0, None))
        if known != version or uses >= _MOST_USES:
            with self.world.db.read() as c:
                uses, answer = 0, ask(c)
        self._known[what] = (version, uses + 1, answer)
        return answer  # type: ignore[return-value]

    def nodes_as_they_are(self) -> int:
        """The same number for as long as no node changes."""
        return self._db.changes("nodes")


class Snapshot(Rows):
    """The same answers out of all rows of three tables: they are few, and their clock stands still."""

    _TASKS = sa.select(tables.tasks).order_by(tables.tasks.c.name)
    _NODES = sa.select(tables.nodes)
    _LAST = sa.select(tables.lapses.c.last)

    def lost(self) -> tuple[int, list[tuple[Task, int]]]:
        """As the queries say."""
        number = self._ask("last", lambda c: c.scalar(self._LAST), "lapses")
        found = []
        for task in self._running():
            node = self._nodes().get(task.node or "")
            if node is not None and node.state in tasks.GONE:
                found.append((task, node.lapse_no or 0))
        return int(number or 0), found

    def of_node(self, node_id: str) -> list[Task]:
        """As the queries say."""
        return [task for task in self._running() if task.node == node_id]

    def due(self) -> list[Task]:
        """As the queries say."""
        return [task for task in self._tasks().values() if task.state is TaskState.PENDING]

    def scheduled(self) -> list[Task]:
        """As the queries say."""
        return [task for task in self._tasks().values() if task.state is TaskState.SCHEDULED]

    def task(self, task_id: str) -> Task:
        """As the queries say."""
        return self._tasks()[task_id]

    def node(self, node_id: str) -> Node:
        """As the queries say."""
        return self._nodes()[node_id]

    def _beating(self) -> list[Node]:
        return [node for node in self._nodes().values() if node.state in nodes._BEATING]

    def _running(self) -> list[Task]:
        return [task for task in self._tasks().values() if task.state is TaskState.RUNNING]

    def _tasks(self) -> dict[str, Task]:
        return self._ask(
            "tasks", lambda c: {row.id: tasks.record(row) for row in c.execute(self._TASKS)}, "tasks"
        )

    def _nodes(self) -> dict[str, Node]:
        return self._ask(
            "nodes", lambda c: {row.id: nodes._record(row) for row in c.execute(self._NODES)}, "nodes"
        )


def _by_name(found: Iterable[Task]) -> list[Task]:
    return sorted(found, key=lambda task: task.name)
