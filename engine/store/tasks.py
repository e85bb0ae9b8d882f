"""Tasks: a function per query and per transition. Every guard of the protocol is a WHERE here.

`token` in a WHERE is attempt and delivery. The verbs in `engine.lifecycle` lock the rows first, in the order
job, task, node: a compare-and-set alone does not stop two last children that end at once (protocol 2).
Statements that every link needs are built once, for building one takes longer than SQLite takes to run it;
their parameters are called `the_…`, since a column's own name would be a value to set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import Task, Token
from engine.model.states import ADOPTING_NODES, GONE_NODES, NodeState, TaskState
from engine.store.database import now_ms
from engine.store.tables import attempts, nodes, tasks

_WAITING = (TaskState.PENDING, TaskState.SCHEDULED)

_THIS = tasks.c.id == sa.bindparam("the_task")
_AT = sa.and_(
    _THIS,
    tasks.c.attempt == sa.bindparam("the_attempt"),
    tasks.c.delivery == sa.bindparam("the_delivery"),
)
_RUNNING = sa.and_(_AT, tasks.c.state == TaskState.RUNNING)


def _by(token: Token, **more: Any) -> dict[str, Any]:
    """The parameters of _AT and _RUNNING, and more of the caller's."""
    ours = {"the_task": token.task_id, "the_attempt": token.attempt, "the_delivery": token.delivery}
    return ours | more


def _owner_in(states: Iterable[NodeState]) -> sa.ColumnElement[bool]:
    """The row's node is in one of these states."""
    return sa.exists().where(nodes.c.id == tasks.c.node, nodes.c.state.in_(list(states)))


def _node_in(states: Iterable[NodeState]) -> sa.ColumnElement[bool]:
    """The node `the_node` is in one of these states."""
    return sa.exists().where(nodes.c.id == sa.bindparam("the_node"), nodes.c.state.in_(list(states)))


def _changed(c: sa.Connection, statement: sa.Update, values: dict[str, Any]) -> bool:
    return c.execute(statement, values).rowcount == 1


_GET = sa.select(tasks).where(_THIS)
_LOCK = _GET.with_for_update()
_OF_JOB = sa.select(tasks).where(tasks.c.job_id == sa.bindparam("the_job")).order_by(tasks.c.position)
_JOB_OF = sa.select(tasks.c.job_id).where(_THIS)
_NOW = sa.select(now_ms())
_INSERT = tasks.insert()


def record(row: sa.Row[Any]) -> Task:
    """The row as a value."""
    return Task(**{**row._mapping, "state": TaskState(row._mapping["state"])})


def insert(c: sa.Connection, new: Sequence[Task]) -> None:
    """Insert new tasks."""
    c.execute(_INSERT, [vars(task) for task in new])


def get(c: sa.Connection, task_id: str) -> Task | None:
    """The task, or None."""
    row = c.execute(_GET, {"the_task": task_id}).one_or_none()
    return record(row) if row else None


def lock(c: sa.Connection, task_id: str) -> Task | None:
    """The task with its row locked until the end of the transaction. Its job's row is locked before."""
    row = c.execute(_LOCK, {"the_task": task_id}).one_or_none()
    return record(row) if row else None


def of_job(c: sa.Connection, job_id: str) -> list[Task]:
    """All tasks of a job, in their order."""
    return [record(row) for row in c.execute(_OF_JOB, {"the_job": job_id})]


def summaries(c: sa.Connection, job_ids: Sequence[str]) -> list[Task]:
    """The tasks of these jobs for a list, in their order: `spec` and `result`, which may be long, are left out."""
    columns = [column for column in tasks.c if column.name not in ("spec", "result")]
    rows = c.execute(
        sa.select(*columns, sa.null().label("result"))
        .where(tasks.c.job_id.in_(list(job_ids)))
        .order_by(tasks.c.job_id, tasks.c.position)
    )
    found = []
    for row in rows:
        found.append(Task(**{**row._mapping, "spec": {}, "state": TaskState(row._mapping["state"])}))
    return found


def job_of(c: sa.Connection, task_id: str) -> str | None:
    """The job's id, which never changes: what to lock first."""
    return c.scalar(_JOB_OF, {"the_task": task_id})


def now(c: sa.Connection) -> int:
    """Milliseconds since 1970 by the database's clock."""
    return int(c.scalar(_NOW) or 0)


_CLAIM = (
    tasks.update()
    .where(_AT, tasks.c.state.in_(_WAITING), _node_in([NodeState.LIVE]))
    .values(
        state=TaskState.RUNNING,
        node=sa.bindparam("the_node"),
        origin=tasks.c.delivery,
        held_since=now_ms(),
        started_at=sa.func.coalesce(tasks.c.started_at, now_ms()),
    )
    .returning(*tasks.c)
)


def claim(c: sa.Connection, token: Token, node_id: str) -> Task | None:
    """PENDING or SCHEDULED -> RUNNING for a LIVE node; the origin is this delivery. The row as it is then, or None."""
    row = c.execute(_CLAIM, _by(token, the_node=node_id)).one_or_none()
    return record(row) if row else None


_BEGINS = sa.select(sa.literal(1)).where(_RUNNING, tasks.c.node == sa.bindparam("the_node"))
_MAY_CONFIRM = (
    sa.select(sa.literal(1))
    .select_from(tasks.join(nodes, nodes.c.id == tasks.c.node))
    .where(_RUNNING, nodes.c.state.not_in(GONE_NODES))
    .with_for_update(read=True, of=nodes)
)


def begins(c: sa.Connection, token: Token, node_id: str) -> bool:
    """begin_link's share that is the task's: RUNNING under this token, on this node."""
    return c.scalar(_BEGINS, _by(token, the_node=node_id)) is not None


def may_confirm(c: sa.Connection, token: Token) -> bool:
    """confirm's share that is the task's: RUNNING under this token, and its node neither LAPSED nor LEFT.

    The node's row is kept from changing until the end of the transaction (FOR SHARE): a confirm before a lapse
    is on every list after it, which makes "looked and found nothing" a proof (protocol 2, confirm).
    """
    return c.scalar(_MAY_CONFIRM, _by(token)) is not None


#: What a task is again that is to be sent anew.
_SENT_AGAIN: dict[str, Any] = {
    "state": TaskState.PENDING,
    "node": None,
    "held_since": None,
    "not_before": now_ms(),
    "sent_at": None,
    "sends": 0,
    "result": None,
}
_NEXT: dict[str, Any] = {"delivery": tasks.c.delivery + 1}
_TAKE_OVER = (
    tasks.update()
    .where(_RUNNING, _owner_in(GONE_NODES), _node_in(ADOPTING_NODES))
    .values(_NEXT | {"node": sa.bindparam("the_node"), "held_since": now_ms()})
)
_SELF_TAKE_OVER = (
    tasks.update()
    .where(_RUNNING, tasks.c.node == sa.bindparam("the_node"), _node_in([NodeState.LIVE]))
    .values(_NEXT)
)


def take_over(c: sa.Connection, token: Token, node_id: str, crashes: int) -> bool:
    """A lapsed or left node's task goes to a JOINING or LIVE one, under a new delivery."""
    return _changed(c, _TAKE_OVER, _by(token, the_node=node_id, crashes=crashes))


def self_take_over(c: sa.Connection, token: Token, node_id: str) -> bool:
    """A new delivery on the same node: no thread of it works on the row. No crash."""
    return _changed(c, _SELF_TAKE_OVER, _by(token, the_node=node_id))


#: Its node ended with this lapse, and every node that could find its containers has looked since.
_FOUND_BY_NOBODY = sa.and_(
    _RUNNING,
    sa.exists().where(
        nodes.c.id == tasks.c.node,
        nodes.c.state.in_(GONE_NODES),
        nodes.c.lapse_no == sa.bindparam("the_lapse"),
    ),
    sa.not_(
        sa.exists().where(
            nodes.c.state.in_(ADOPTING_NODES),
            nodes.c.runtime_ok.is_(True),
            nodes.c.looked < sa.bindparam("the_lapse"),
        )
    ),
)
_MAY_RESTART = sa.select(sa.literal(1)).where(_FOUND_BY_NOBODY)
_RESTART = tasks.update().where(_FOUND_BY_NOBODY).values(_SENT_AGAIN | _NEXT)
_GIVE_BACK = tasks.update().where(_RUNNING).values(_SENT_AGAIN | _NEXT)
_RETRY = (
    tasks.update()
    .where(_RUNNING)
    .values(
        _SENT_AGAIN
        | {"attempt": tasks.c.attempt + 1, "delivery": 1, "origin": 0, "crashes": 0}
        | {"not_before": now_ms() + sa.bindparam("the_delay", type_=sa.BigInteger())}
    )
)


def may_restart(c: sa.Connection, token: Token, lapse_no: int) -> bool:
    """restart's guard, asked before a poison pill is given up."""
    return c.scalar(_MAY_RESTART, _by(token, the_lapse=lapse_no)) is not None


def restart(c: sa.Connection, token: Token, lapse_no: int, crashes: int) -> bool:
    """RUNNING -> PENDING elsewhere: every node that could have found its containers has looked in vain."""
    return _changed(c, _RESTART, _by(token, the_lapse=lapse_no, crashes=crashes))


def give_back(c: sa.Connection, token: Token) -> bool:
    """RUNNING -> PENDING with a new delivery: the ended links' volume is gone. No crash."""
    return _changed(c, _GIVE_BACK, _by(token))


def retry(c: sa.Connection, token: Token, delay_ms: int) -> bool:
    """RUNNING -> PENDING as the next attempt, after a delay; delivery and crashes begin anew."""
    return _changed(c, _RETRY, _by(token, the_delay=delay_ms))


#: Which columns are set beside these, its parameters say.
_END = tasks.update().where(_RUNNING).values(ended_at=now_ms())
_KEEP = tasks.update().where(_RUNNING)


def end(c: sa.Connection, token: Token, state: TaskState, **ended: Any) -> bool:
    """RUNNING -> an end, with `exit_code`, `result`, `error`."""
    return _changed(c, _END, _by(token, state=state, **ended))


def keep_result(c: sa.Connection, token: Token, result: str) -> bool:
    """The main link's result, while post links are still to run."""
    return _changed(c, _KEEP, _by(token, result=result))


_OVERDUE = sa.exists().where(
    attempts.c.task_id == tasks.c.id,
    attempts.c.attempt == tasks.c.attempt,
    attempts.c.started_at + tasks.c.timeout_ms <= now_ms(),
)
_END_LAPSED = _MAY_RESTART.where(_OVERDUE)
_CANCEL = (
    tasks.update()
    .where(_THIS, tasks.c.state.not_in([state for state in TaskState if state.ended]))
    .values(state=TaskState.CANCELLED, ended_at=now_ms())
)


def end_lapsed(c: sa.Connection, token: Token, lapse_no: int) -> bool:
    """The guard of a time-out by the reconciler: its time is over, its node is gone, and nobody found it."""
    return c.scalar(_END_LAPSED, _by(token, the_lapse=lapse_no)) is not None


def cancel(c: sa.Connection, task_id: str) -> bool:
    """Any state that is no end -> CANCELLED."""
    return _changed(c, _CANCEL, {"the_task": task_id})


_LOST = (
    sa.select(tasks, nodes.c.lapse_no, nodes.c.state.label("node_state"))
    .join(nodes, nodes.c.id == tasks.c.node)
    .where(tasks.c.state == TaskState.RUNNING, nodes.c.state.in_(GONE_NODES))
)
_ALL_OVERDUE = (
    sa.select(tasks)
    .join(nodes, nodes.c.id == tasks.c.node)
    .where(tasks.c.state == TaskState.RUNNING, nodes.c.state.in_(GONE_NODES), _OVERDUE)
)
_OF_NODE = sa.select(tasks).where(
    tasks.c.node == sa.bindparam("the_node"), tasks.c.state == TaskState.RUNNING
)
_STATES = sa.select(tasks.c.id, tasks.c.state, tasks.c.attempt, tasks.c.delivery, tasks.c.origin).where(
    tasks.c.id.in_(sa.bindparam("the_tasks", expanding=True))
)


def lost(c: sa.Connection) -> list[tuple[Task, int, NodeState]]:
    """RUNNING tasks whose node is LAPSED or LEFT, each with the node's lapse number and state."""
    found = []
    for row in c.execute(_LOST):
        values = dict(row._mapping)
        lapse_no, state = int(values.pop("lapse_no")), NodeState(values.pop("node_state"))
        found.append((Task(**{**values, "state": TaskState(values["state"])}), lapse_no, state))
    return found


def overdue(c: sa.Connection) -> list[Task]:
    """RUNNING tasks past their time-out whose node is LAPSED or LEFT."""
    return [record(row) for row in c.execute(_ALL_OVERDUE)]


def of_node(c: sa.Connection, node_id: str) -> list[Task]:
    """RUNNING tasks that name this node."""
    return [record(row) for row in c.execute(_OF_NODE, {"the_node": node_id})]


def states(c: sa.Connection, task_ids: Sequence[str]) -> dict[str, tuple[TaskState, int, int, int]]:
    """id -> (state, attempt, delivery, origin); ids that are unknown are left out."""
    if not task_ids:
        return {}
    rows = c.execute(_STATES, {"the_tasks": list(task_ids)})
    return {row.id: (TaskState(row.state), row.attempt, row.delivery, row.origin) for row in rows}
