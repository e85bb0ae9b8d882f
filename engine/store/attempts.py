"""Attempts: a record of each try of the whole chain, for people and for time-outs. No token guard reads them."""

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


def _params(token: Token, **more: Any) -> dict[str, Any]:
    """Return the parameters of `_THIS`, and more from the caller."""
    return {"the_task": token.task_id, "the_attempt": token.attempt, **more}


def _begin(insert: Any) -> Any:
    fresh = insert(attempts).values(state=TaskState.RUNNING, started_at=now_ms())
    again = {"node": fresh.excluded.node, "sandbox": fresh.excluded.sandbox, "state": TaskState.RUNNING}
    kept = fresh.on_conflict_do_update(index_elements=["task_id", "attempt"], set_=again)
    return kept.returning(now_ms() - attempts.c.started_at)


_BEGIN = {kind.dialect.name: _begin(kind.insert) for kind in (sqlite, postgresql)}
_SET = attempts.update().where(_THIS)
_MOVE = _SET.values(node=sa.bindparam("the_node"))
_SET_SANDBOX = _SET.values(sandbox=sa.bindparam("the_sandbox"))
_END = _SET.values(
    state=sa.bindparam("the_state"),
    ended_at=now_ms(),
    exit_code=sa.bindparam("the_exit_code"),
    error=sa.bindparam("the_error"),
)
_FORGET = attempts.delete().where(_THIS)
_STATUS = sa.select(attempts.c.started_at, attempts.c.sandbox, now_ms().label("now")).where(_THIS)
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
    """Insert the attempt's row, or update it for another run of the chain; return the attempt's age in ms.

    `sandbox` is the sandbox whose network namespace the links of this run join; None: they run without a sandbox.
    """
    values = {"task_id": token.task_id, "attempt": token.attempt, "node": node_id, "sandbox": sandbox}
    return max(0, int(c.scalar(_BEGIN[c.dialect.name], values) or 0))


def move(c: sa.Connection, token: Token, node_id: str) -> None:
    """Note the attempt's new owner."""
    c.execute(_MOVE, _params(token, the_node=node_id))


def end(c: sa.Connection, token: Token, state: TaskState, exit_code: int | None, error: str | None) -> None:
    """Write the attempt's end."""
    c.execute(_END, _params(token, the_state=state, the_exit_code=exit_code, the_error=error))


def forget(c: sa.Connection, token: Token) -> None:
    """Delete the row of an attempt that a machine could not begin: its time counts from its next claim."""
    c.execute(_FORGET, _params(token))


def of_tasks(c: sa.Connection, task_ids: Sequence[str]) -> list[Attempt]:
    """Return the attempts of these tasks, oldest first."""
    rows = c.execute(_OF_TASKS, {"the_tasks": list(task_ids)})
    return [Attempt(**{**row._mapping, "state": TaskState(row.state)}) for row in rows]


def status(c: sa.Connection, token: Token) -> AttemptStatus:
    """Return the attempt's age and sandbox, by the database's clock; all 0 for an unknown attempt."""
    row = c.execute(_STATUS, _params(token)).one_or_none()
    if row is None:
        return AttemptStatus()
    return AttemptStatus(max(0, int(row.now) - row.started_at), row.sandbox, int(row.now))


def set_sandbox(c: sa.Connection, token: Token, sandbox: str | None) -> None:
    """Have the links that have not started join this sandbox; None: they run without a sandbox."""
    c.execute(_SET_SANDBOX, _params(token, the_sandbox=sandbox))


def sandboxes(c: sa.Connection) -> set[str]:
    """Return the sandboxes that links of RUNNING attempts have joined or will join."""
    return {str(name) for name in c.scalars(_SANDBOXES)}
