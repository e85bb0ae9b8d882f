"""Rows for tests of the store: a submitted task, and a running one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from engine.jobspec.task import LinkSpec, TaskSpec
from engine.lifecycle.installation import Installation
from engine.lifecycle.submit import submit
from engine.model.records import Task
from engine.model.states import NodeState
from engine.settings import Settings
from engine.store import attempts, links, nodes, tables, tasks
from engine.store.database import Database
from tests.support.callers import TESTER
from tests.support.records import a_link, a_node


def spec(name: str = "say hello", **fields: Any) -> TaskSpec:
    """Return a task of one link, with these fields."""
    return TaskSpec(name=name, main=LinkSpec(image="busybox:1.36", cmd=("true",)), **fields)


def submitted(db: Database, name: str = "say hello", **fields: Any) -> Task:
    """Submit a task and return it."""
    task = submit(Installation(db, Settings(), "i1"), TESTER, spec(name, **fields))
    with db.read() as c:
        found = tasks.get(c, task.id)
    assert found is not None
    return found


def live_node(db: Database, id: str = "n1", queues: tuple[str, ...] = ("default",)) -> str:
    """Insert a node that is LIVE; return its id."""
    with db.begin() as c:
        nodes.insert(c, a_node(id, queues=queues))
        assert nodes.move(c, id, NodeState.LIVE, [NodeState.JOINING])
    return id


def running(db: Database, name: str = "say hello", node: str | None = None, **fields: Any) -> Task:
    """Submit a task and claim it for a node, with its one link."""
    task = submitted(db, name, **fields)
    if node is None:
        with db.read() as c:
            known = nodes.get(c, "n1")
        node = "n1" if known else live_node(db)
    with db.begin() as c:
        assert tasks.claim(c, task.token, node)
        attempts.begin(c, task.token, node, None)
        link = a_link(task_id=task.id, attempt=task.attempt, origin=task.delivery, name=task.name)
        links.insert(c, [link])
        found = tasks.get(c, task.id)
    assert found is not None
    return found


def count(db: Database, table: str) -> int:
    """Return the number of rows in a table, which a refused request must not change."""
    with db.read() as c:
        return int(c.scalar(sa.select(sa.func.count()).select_from(tables.metadata.tables[table])) or 0)
