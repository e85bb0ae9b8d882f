"""Small installation for tests of the verbs: nodes, tasks, and events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from engine.jobspec.task import LinkSpec, TaskSpec
from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import claim
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import FollowUp, finish_link
from engine.lifecycle.installation import Installation
from engine.lifecycle.submit import submit
from engine.model.records import Event, Job, Link, Node, Task, Token
from engine.model.states import NodeState
from engine.runtime.base import Cause, Outcome
from engine.settings import Settings
from engine.store import attempts, events, jobs, links, nodes, outbox, tables, tasks
from engine.store.database import Database
from tests.support.callers import TESTER, by
from tests.support.records import a_node

_ROWS = ("jobs", "tasks", "attempts", "links", "nodes")


class World:
    """Database with its verbs. Every answer is read from the rows at that moment."""

    def __init__(self, db: Database, settings: Settings, installation: str = "i1") -> None:
        self.db = db
        self.installation = Installation(db, settings, installation)

    def with_settings(self, **values: Any) -> World:
        """Return the same rows under other settings."""
        return World(self.db, self.installation.settings.replace(**values), self.installation.id)

    # Nodes.

    def joining(self, id: str, *, runtime_ok: bool = True) -> str:
        """Join a node that has not looked yet; return its id."""
        node_verbs.join(self.installation, TESTER, a_node(id, runtime_ok=runtime_ok))
        return id

    def live(self, id: str = "n1") -> str:
        """Make a node that is LIVE; return its id."""
        self.joining(id)
        assert node_verbs.become_live(self.installation, by(id), self.last_lapse)
        return id

    def lapse(self, id: str) -> int:
        """End a node as a watcher does; return its lapse number."""
        assert node_verbs.lapse(self.installation, TESTER, self.node(id))
        return self.node(id).lapse_no or 0

    def leave(self, id: str) -> int:
        """Let a node leave in order; return its lapse number."""
        assert node_verbs.drain(self.installation, TESTER, id)
        assert node_verbs.leave(self.installation, by(id))
        return self.node(id).lapse_no or 0

    def in_state(self, id: str, state: NodeState) -> str:
        """Bring a node to this state by the verbs."""
        if state is NodeState.JOINING:
            return self.joining(id)
        self.live(id)
        if state is NodeState.LAPSED:
            self.lapse(id)
        elif state is NodeState.LEAVING:
            assert node_verbs.drain(self.installation, TESTER, id)
        elif state is NodeState.LEFT:
            self.leave(id)
        return id

    # Tasks.

    def submitted(self, **fields: Any) -> Task:
        """Submit a task."""
        task = submit(self.installation, TESTER, chain_spec(**fields))
        return self.task(task.id)

    def scheduled(self, **fields: Any) -> Task:
        """Submit a task and mark its message as sent."""
        task = self.submitted(**fields)
        with self.db.begin() as c:
            assert outbox.mark_sent(c, [task])
        return self.task(task.id)

    def claimed(self, node: str = "n1", **fields: Any) -> Assignment:
        """Claim a task for a LIVE node; return the assignment of its first link."""
        task = self.submitted(**fields)
        with self.db.read() as c:
            known = nodes.get(c, node)
        if known is None:
            self.live(node)
        found = claim(self.installation, by(node), task.token)
        assert found is not None
        return found

    def confirmed(self, node: str = "n1", container: str = "c0", **fields: Any) -> Assignment:
        """Claim a task and confirm the container of its first link."""
        found = self.claimed(node, **fields)
        assert confirm(self.installation, TESTER, found, container)
        return found

    def end(
        self, assignment: Assignment, code: int = 0, container: str | None = "c0", **more: Any
    ) -> FollowUp | None:
        """Record how the link's container ended."""
        message = None if code == 0 else f"exit code {code}"
        return finish_link(
            self.installation, TESTER, assignment, container, Outcome(code, Cause.EXITED, message, **more)
        )

    # Rows.

    def task(self, task_id: str) -> Task:
        """Return the task's row."""
        with self.db.read() as c:
            found = tasks.get(c, task_id)
        assert found is not None
        return found

    def job_of(self, task_id: str) -> Job:
        """Return the row of the task's job."""
        with self.db.read() as c:
            found = jobs.get(c, self.task(task_id).job_id)
        assert found is not None
        return found

    def node(self, id: str) -> Node:
        """Return the node's row."""
        with self.db.read() as c:
            found = nodes.get(c, id)
        assert found is not None
        return found

    @property
    def last_lapse(self) -> int:
        """Last lapse number that can be read."""
        with self.db.read() as c:
            return nodes.last_lapse(c)

    def links(self, task_id: str) -> list[Link]:
        """Return the links of all runs."""
        with self.db.read() as c:
            return links.of_tasks(c, [task_id])

    def attempts(self, task_id: str) -> list[Any]:
        """Return the records of all attempts."""
        with self.db.read() as c:
            return attempts.of_tasks(c, [task_id])

    def events(self, task_id: str | None = None) -> list[Event]:
        """Return the events of a task, or all."""
        with self.db.read() as c:
            return events.after(c, None, task_id=task_id, settled=True, limit=100_000)

    def events_after(self, cursor: str) -> list[Event]:
        """Return the events since then."""
        with self.db.read() as c:
            return events.after(c, cursor, settled=True)

    def set(self, task_id: str, **values: Any) -> None:
        """Set columns of a task without a verb, as if time had passed."""
        with self.db.begin() as c:
            c.execute(tables.tasks.update().where(tables.tasks.c.id == task_id).values(**values))

    def set_attempt(self, task_id: str, **values: Any) -> None:
        """Set columns of the task's attempts."""
        with self.db.begin() as c:
            c.execute(tables.attempts.update().where(tables.attempts.c.task_id == task_id).values(**values))

    @property
    def now(self) -> int:
        """Return the database's clock, in milliseconds."""
        with self.db.read() as c:
            return tasks.now(c)

    def rows(self) -> dict[str, list[Any]]:
        """Return every row that a guard may read, but no event."""
        with self.db.read() as c:
            return {
                name: sorted(map(str, c.execute(sa.select(tables.metadata.tables[name])))) for name in _ROWS
            }

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that nothing inside changes a row."""
        before = self.rows()
        yield
        assert self.rows() == before

    def wipe(self) -> None:
        """Delete all rows and reset the lapse counter, for many small runs on one database."""
        with self.db.begin() as c:
            for name in ("events", "links", "attempts", "tasks", "jobs", "nodes"):
                c.execute(tables.metadata.tables[name].delete())
            c.execute(tables.lapses.update().values(last=0))


def chain_spec(name: str = "say hello", pre: int = 0, post: int = 0, **fields: Any) -> TaskSpec:
    """Return a task with these numbers of pre and post links, the last post `always` if asked for."""
    always = fields.pop("always", False)
    image = "busybox:1.36"
    return TaskSpec(
        name=name,
        main=LinkSpec(image=image, cmd=("true",)),
        pre=tuple(LinkSpec(name=f"pre{n}", image=image) for n in range(pre)),
        post=tuple(
            LinkSpec(name=f"post{n}", image=image, always=always and n == post - 1) for n in range(post)
        ),
        **fields,
    )


def wrong_tokens(token: Token) -> dict[str, Token]:
    """Return the token with each of its parts wrong."""
    return {
        "another attempt": replace(token, attempt=token.attempt + 1),
        "an earlier attempt": replace(token, attempt=token.attempt - 1),
        "another delivery": replace(token, delivery=token.delivery + 1),
        "an earlier delivery": replace(token, delivery=token.delivery - 1),
        "no such task": replace(token, task_id="0" * 32),
    }
