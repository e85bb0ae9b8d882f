"""Attempts: a record of each try of the whole chain, for people and for time-outs. No guard of a token reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from engine.model.records import Attempt, AttemptStatus, Token
from engine.model.states import TaskState
from engine.store.database import now_ms
from engine.store.tables import attempts, tasks

# Built once, as in engine.store.tasks.
_THIS = sa.and_(
    attempts.c.task_id == sa.bindparam("the_task"), attempts.c.attempt == sa.bindparam("the_attempt")
)


def _by(token: Token, **more: Any) -> dict[str, Any]:
    """The parameters of _THIS, and more of the caller's."""
    return {"the_task": token.task_id, "the_attempt": token.attempt, **more}


def _begin(insert: Any) -> Any:
    fresh = insert(attempts).values(state=TaskState.RUNNING, started_at=now_ms())
    again = {"node": fresh.excluded.node, "sandbox": fresh.excluded.sandbox, "state": TaskState.RUNNING}
    kept = fresh.on_conflict_do_update(index_elements=["task_id", "attempt"], set_=again)
    return kept.returning(now_ms() - attempts.c.started_at)


_BEGIN = {kind.dialect.name: _begin(kind.insert) for kind in (sqlite, postgresql)}
_SET = attempts.update().where(_THIS)
_END = _SET.values(ended_at=now_ms())
_STANDING = sa.select(attempts.c.started_at, attempts.c.sandbox, now_ms().label("now")).where(_THIS)
_SANDBOXES = (
    sa.select(attempts.c.sandbox)
    .join(tasks, sa.and_(tasks.c.id == attempts.c.task_id, tasks.c.attempt == attempts.c.attempt))
    .where(tasks.c.state == TaskState.RUNNING, attempts.c.sandbox.is_not(None))
)
_OF_TASKS = (
    sa.select(attempts)
    .where(attempts.c.task_id.in_(sa.bindparam("the_tasks", expanding=True)))
    .order_by(attempts.c.task_id, attempts.c.attempt)
)


def begin(c: sa.Connection, token: Token, node_id: str, sandbox: str | None) -> int:
    """Write the attempt's record: a new row, or the same one for another run of the chain; its age in ms.

    `sandbox` is the sandbox whose namespace this run's links join, None: the plain way.
    """
    values = {"task_id": token.task_id, "attempt": token.attempt, "node": node_id, "sandbox": sandbox}
    return max(0, int(c.scalar(_BEGIN[c.dialect.name], values) or 0))


def move(c: sa.Connection, token: Token, node_id: str) -> None:
    """Note the attempt's new owner."""
    c.execute(_SET, _by(token, node=node_id))


def end(c: sa.Connection, token: Token, state: TaskState, exit_code: int | None, error: str | None) -> None:
    """Write the attempt's end into its record."""
    c.execute(_END, _by(token, state=state, exit_code=exit_code, error=error))


def of_tasks(c: sa.Connection, task_ids: Sequence[str]) -> list[Attempt]:
    """The attempts of these tasks, oldest first."""
    rows = c.execute(_OF_TASKS, {"the_tasks": list(task_ids)})
    return [Attempt(**{**row._mapping, "state": TaskState(row.state)}) for row in rows]


def status(c: sa.Connection, token: Token) -> AttemptStatus:
    """How the attempt stands, by the database's clock; all 0 when it is unknown."""
    row = c.execute(_STANDING, _by(token)).one_or_none()
    if row is None:
        return AttemptStatus()
    return AttemptStatus(max(0, int(row.now) - row.started_at), row.sandbox, int(row.now))


def set_sandbox(c: sa.Connection, token: Token, sandbox: str | None) -> None:
    """The links that are still to start join this sandbox; None: they go the plain way."""
    c.execute(_SET, _by(token, sandbox=sandbox))


def sandboxes(c: sa.Connection) -> set[str]:
    """The sandboxes that attempts which run now have joined, or will."""
    return {str(name) for name in c.scalars(_SANDBOXES)}
