"""Tasks: a function for each query and each transition.

The guards of a transition stand in its WHERE, each with its key (`engine.store.guards`). The verbs in
`engine.lifecycle` lock the rows first, in the order job, task, node: without the locks, the last two tasks of a
job that end at once would not see each other (see docs/protocol.rst).

Statements are built once, because building one takes longer than SQLite needs to run it. Their parameters are
called `the_…`: SQLAlchemy takes a parameter with a column's name for a value to set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import PlannedLink, Refusal, Task, Token
from engine.model.states import ADOPTING_NODES, ENDED, GONE_NODES, WAITING_TASKS, NodeState, TaskState
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.last_words import HAS_LAST_WORDS
from engine.store.tables import attempts, nodes, tasks

_THIS = tasks.c.id == sa.bindparam("the_task")
_IS_OWN = tasks.c.node == sa.bindparam("the_node")
_OWNER = nodes.c.id == tasks.c.node
_NODE = nodes.c.id == sa.bindparam("the_node")
_IS_LIVE = sa.exists().where(_NODE, nodes.c.state == NodeState.LIVE)
#: Answer of a statement that only asks whether its guards hold.
_YES = sa.select(sa.literal(1))


def _under_token(verb: str) -> sa.ColumnElement[bool]:
    """Select the task, if the token is still the task's."""
    attempt = tasks.c.attempt == sa.bindparam("the_attempt")
    return sa.and_(_THIS, guard(f"{verb}.token", attempt, tasks.c.delivery == sa.bindparam("the_delivery")))


def _running(verb: str) -> sa.ColumnElement[bool]:
    """Select the task, if it is RUNNING under the token."""
    return sa.and_(_under_token(verb), guard(f"{verb}.state", tasks.c.state == TaskState.RUNNING))


def _params(token: Token, **more: Any) -> dict[str, Any]:
    """Return the parameters of `_under_token`, and more from the caller."""
    return {
        "the_task": token.task_id,
        "the_attempt": token.attempt,
        "the_delivery": token.delivery,
        **more,
    }


def _changed(c: sa.Connection, statement: sa.Update, params: Mapping[str, Any]) -> bool:
    return c.execute(statement, params).rowcount == 1


_GET = sa.select(tasks).where(_THIS)
_LOCK = _GET.with_for_update()
_OF_JOB = sa.select(tasks).where(tasks.c.job_id == sa.bindparam("the_job")).order_by(tasks.c.position)
_NOW = sa.select(now_ms())
#: Tasks without `spec` and `result`, which may be long.
SUMMARY = sa.select(*(column for column in tasks.c if column.name not in ("spec", "result")))
_INSERT = tasks.insert()


def record(row: sa.Row[Any]) -> Task:
    """Return the record of a row that has all columns of `tasks`."""
    return _record({**row._mapping})


def _record(values: Mapping[str, Any]) -> Task:
    changed = {
        "state": TaskState(values["state"]),
        "plan": tuple(PlannedLink(*link) for link in values["plan"]),
        "refusals": tuple(Refusal(*refusal) for refusal in values["refusals"]),
    }
    return Task(**{**values, **changed})


def summary(row: sa.Row[Any]) -> Task:
    """Return the record of a row of `SUMMARY`: `spec` and `result` are left out."""
    return _record({**row._mapping, "spec": {}, "result": None})


def insert(c: sa.Connection, new: Sequence[Task]) -> None:
    """Insert new tasks."""
    c.execute(_INSERT, [vars(task) for task in new])


def get(c: sa.Connection, task_id: str) -> Task | None:
    """Return the task, or None."""
    row = c.execute(_GET, {"the_task": task_id}).one_or_none()
    return record(row) if row else None


def lock(c: sa.Connection, task_id: str) -> Task | None:
    """Lock the task's row until the end of the transaction, and return the task. The job's row is locked before."""
    row = c.execute(_LOCK, {"the_task": task_id}).one_or_none()
    return record(row) if row else None


def of_job(c: sa.Connection, job_id: str) -> list[Task]:
    """Return all tasks of a job, in the job's order."""
    return [record(row) for row in c.execute(_OF_JOB, {"the_job": job_id})]


def summaries(c: sa.Connection, job_ids: Sequence[str]) -> list[Task]:
    """Return the tasks of these jobs for a list, as summaries."""
    rows = c.execute(
        SUMMARY.where(tasks.c.job_id.in_(list(job_ids))).order_by(tasks.c.job_id, tasks.c.position)
    )
    return [summary(row) for row in rows]


def now(c: sa.Connection) -> int:
    """Return the milliseconds since 1970 by the database's clock."""
    return int(c.scalar(_NOW) or 0)


_CLAIM = (
    tasks.update()
    .where(
        _under_token("claim"),
        guard("claim.state", tasks.c.state.in_(WAITING_TASKS)),
        guard("claim.node_live", _IS_LIVE),
    )
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
    """Move the task from PENDING or SCHEDULED to RUNNING on a LIVE node; this delivery becomes the origin.

    Returns the task as it is then, or None when a guard refused.
    """
    row = c.execute(_CLAIM, _params(token, the_node=node_id)).one_or_none()
    return record(row) if row else None


_MAY_BEGIN_LINK = _YES.where(_running("begin_link"), guard("begin_link.owner", _IS_OWN))
_MAY_CONFIRM = (
    _YES.select_from(tasks.join(nodes, _OWNER))
    .where(_running("confirm"), guard("confirm.owner", nodes.c.state.not_in(GONE_NODES)))
    .with_for_update(read=True, of=nodes)
)
_MAY_APPEND_LOG = _YES.where(
    _under_token("append_log"),
    guard("append_log.state", sa.or_(tasks.c.state == TaskState.RUNNING, HAS_LAST_WORDS)),
).with_for_update(read=True)


def may_begin_link(c: sa.Connection, token: Token, node_id: str) -> bool:
    """Return whether the task is RUNNING under this token on this node."""
    return c.scalar(_MAY_BEGIN_LINK, _params(token, the_node=node_id)) is not None


def may_confirm(c: sa.Connection, token: Token) -> bool:
    """Return whether the task is RUNNING under this token on a node that is neither LAPSED nor LEFT.

    Locks the node's row FOR SHARE. A container confirmed before the lapse is therefore on every list made after
    the lapse, so "looked and found nothing" is a proof (see docs/protocol.rst, `confirm`).
    """
    return c.scalar(_MAY_CONFIRM, _params(token)) is not None


def may_append_log(c: sa.Connection, token: Token, window_ms: int) -> bool:
    """Return whether the task is RUNNING under this token, or was CANCELLED under it within `window_ms`.

    Locks its row FOR SHARE. A cancel is final, so no other delivery follows the one whose last words are taken.
    """
    return c.scalar(_MAY_APPEND_LOG, _params(token, the_window=window_ms)) is not None


#: Values of a task that must be sent again.
_SENT_AGAIN: dict[str, Any] = {
    "state": TaskState.PENDING,
    "node": None,
    "held_since": None,
    "not_before": now_ms(),
    "sent_at": None,
    "sends": 0,
    "result": None,
}
_NEXT_DELIVERY: dict[str, Any] = {"delivery": tasks.c.delivery + 1}
_CRASHES: dict[str, Any] = {"crashes": sa.bindparam("the_crashes")}
_TAKE_OVER = (
    tasks.update()
    .where(
        _running("take_over"),
        guard("take_over.owner", sa.exists().where(_OWNER, nodes.c.state.in_(GONE_NODES))),
        guard("take_over.node", sa.exists().where(_NODE, nodes.c.state.in_(ADOPTING_NODES))),
    )
    .values(_NEXT_DELIVERY | _CRASHES | {"node": sa.bindparam("the_node"), "held_since": now_ms()})
)
_SELF_TAKE_OVER = (
    tasks.update()
    .where(
        _running("self_take_over"),
        guard("self_take_over.owner", _IS_OWN),
        guard("self_take_over.node_live", _IS_LIVE),
    )
    .values(_NEXT_DELIVERY)
)


def take_over(c: sa.Connection, token: Token, node_id: str, crashes: int) -> bool:
    """Give a LAPSED or LEFT node's task to a JOINING or LIVE node, under a new delivery."""
    return _changed(c, _TAKE_OVER, _params(token, the_node=node_id, the_crashes=crashes))


def self_take_over(c: sa.Connection, token: Token, node_id: str) -> bool:
    """Raise the delivery of a task that no thread of its own LIVE node works on. Counts no crash."""
    return _changed(c, _SELF_TAKE_OVER, _params(token, the_node=node_id))


def _found_by_nobody(verb: str) -> sa.ColumnElement[bool]:
    """Select the task, if its node ended with this lapse and no node that may find its containers is late.

    A node whose runtime does not answer finds nothing: it delays no restart.
    """
    lapse = sa.bindparam("the_lapse", type_=sa.BigInteger())
    ended = sa.exists().where(_OWNER, nodes.c.state.in_(GONE_NODES), nodes.c.lapse_no == lapse)
    answers = guard(f"{verb}.runtime_ok", nodes.c.runtime_ok.is_(True))
    late = sa.exists().where(nodes.c.state.in_(ADOPTING_NODES), answers, nodes.c.looked < lapse)
    return sa.and_(_running(verb), guard(f"{verb}.lapse", ended), guard(f"{verb}.looked", sa.not_(late)))


_MAY_RESTART = _YES.where(_found_by_nobody("restart"))
_RESTART = tasks.update().where(_found_by_nobody("restart")).values(_SENT_AGAIN | _NEXT_DELIVERY | _CRASHES)
_DELAY = sa.bindparam("the_delay", type_=sa.BigInteger())
_MAY_GIVE_BACK = _YES.where(_running("give_back"))
_GIVE_BACK = (
    tasks.update()
    .where(_running("give_back"))
    .values(
        _SENT_AGAIN
        | _NEXT_DELIVERY
        | {"not_before": now_ms() + _DELAY, "refusals": sa.bindparam("the_refusals")}
    )
)
_FORGET_REFUSALS = tasks.update().where(_running("forget_refusals")).values(refusals=[])
_RETRY = (
    tasks.update()
    .where(_running("retry"))
    .values(
        _SENT_AGAIN
        | {"attempt": tasks.c.attempt + 1, "delivery": 1, "origin": 0, "crashes": 0, "refusals": []}
        | {"not_before": now_ms() + _DELAY}
    )
)


def may_restart(c: sa.Connection, token: Token, lapse_no: int) -> bool:
    """Return whether `restart` may be done; asked before a poison pill FAILS."""
    return c.scalar(_MAY_RESTART, _params(token, the_lapse=lapse_no)) is not None


def restart(c: sa.Connection, token: Token, lapse_no: int, crashes: int) -> bool:
    """Move the task from RUNNING to PENDING: no node that could have found its containers has found any."""
    return _changed(c, _RESTART, _params(token, the_lapse=lapse_no, the_crashes=crashes))


def may_give_back(c: sa.Connection, token: Token) -> bool:
    """Return whether `give_back` may be done; asked before too many refusals FAIL the task."""
    return c.scalar(_MAY_GIVE_BACK, _params(token)) is not None


def give_back(c: sa.Connection, token: Token, refusals: Sequence[Refusal], delay_ms: int = 0) -> bool:
    """Move the task from RUNNING to PENDING with a new delivery and these refusals. Counts no crash."""
    return _changed(c, _GIVE_BACK, _params(token, the_refusals=list(refusals), the_delay=delay_ms))


def forget_refusals(c: sa.Connection, token: Token) -> bool:
    """Forget the refusals: the link that no machine could begin has run."""
    return _changed(c, _FORGET_REFUSALS, _params(token))


def retry(c: sa.Connection, token: Token, delay_ms: int) -> bool:
    """Move the task from RUNNING to PENDING as the next attempt, after a delay; delivery and crashes start again."""
    return _changed(c, _RETRY, _params(token, the_delay=delay_ms))


_RESULT = sa.bindparam("the_result", type_=sa.Text())
_END = (
    tasks.update()
    .where(_running("end_task"))
    .values(
        state=sa.bindparam("the_state"),
        ended_at=now_ms(),
        exit_code=sa.bindparam("the_exit_code"),
        error=sa.bindparam("the_error"),
        result=sa.func.coalesce(_RESULT, tasks.c.result),
    )
)
_KEEP_RESULT = tasks.update().where(_running("keep_result")).values(result=_RESULT)


def end(
    c: sa.Connection,
    token: Token,
    state: TaskState,
    *,
    exit_code: int | None = None,
    error: str | None = None,
    result: str | None = None,
) -> bool:
    """End the RUNNING task in this state. Without a `result`, one that was kept before stays."""
    ended = {"the_state": state, "the_exit_code": exit_code, "the_error": error, "the_result": result}
    return _changed(c, _END, _params(token, **ended))


def keep_result(c: sa.Connection, token: Token, result: str) -> bool:
    """Store the main link's result, while post links are still to run."""
    return _changed(c, _KEEP_RESULT, _params(token, the_result=result))


_IS_OVERDUE = sa.exists().where(
    attempts.c.task_id == tasks.c.id,
    attempts.c.attempt == tasks.c.attempt,
    attempts.c.started_at + tasks.c.timeout_ms <= now_ms(),
)
_MAY_TIME_OUT = _YES.where(_found_by_nobody("timeout"), guard("timeout.overdue", _IS_OVERDUE))
_CANCEL = (
    tasks.update()
    .where(_THIS, guard("cancel.state", tasks.c.state.not_in(sorted(ENDED))))
    .values(state=TaskState.CANCELLED, ended_at=now_ms())
)


def may_time_out(c: sa.Connection, token: Token, lapse_no: int) -> bool:
    """Return whether the reconciler may end the attempt: it is past its time, its node is gone, nobody found it."""
    return c.scalar(_MAY_TIME_OUT, _params(token, the_lapse=lapse_no)) is not None


def cancel(c: sa.Connection, task_id: str) -> bool:
    """Move the task to CANCELLED from any state that is not an end."""
    return _changed(c, _CANCEL, {"the_task": task_id})


_IS_LOST = sa.and_(tasks.c.state == TaskState.RUNNING, nodes.c.state.in_(GONE_NODES))
_LOST = (
    sa.select(tasks, nodes.c.lapse_no, nodes.c.state.label("node_state")).join(nodes, _OWNER).where(_IS_LOST)
)
_OVERDUE = sa.select(tasks).join(nodes, _OWNER).where(_IS_LOST, _IS_OVERDUE)
_OF_NODE = sa.select(tasks).where(_IS_OWN, tasks.c.state == TaskState.RUNNING)
_STATES = sa.select(tasks.c.id, tasks.c.state, tasks.c.attempt, tasks.c.delivery, tasks.c.origin).where(
    tasks.c.id.in_(sa.bindparam("the_tasks", expanding=True))
)


def lost(c: sa.Connection) -> list[tuple[Task, int, NodeState]]:
    """Return the RUNNING tasks whose node is LAPSED or LEFT, each with the node's lapse number and state."""
    lost_tasks = []
    for row in c.execute(_LOST):
        values = dict(row._mapping)
        lapse_no, node_state = int(values.pop("lapse_no")), NodeState(values.pop("node_state"))
        lost_tasks.append((_record(values), lapse_no, node_state))
    return lost_tasks


def overdue(c: sa.Connection) -> list[Task]:
    """Return the RUNNING tasks past their time-out whose node is LAPSED or LEFT."""
    return [record(row) for row in c.execute(_OVERDUE)]


def of_node(c: sa.Connection, node_id: str) -> list[Task]:
    """Return the RUNNING tasks that name this node."""
    return [record(row) for row in c.execute(_OF_NODE, {"the_node": node_id})]


def states(c: sa.Connection, task_ids: Sequence[str]) -> dict[str, tuple[TaskState, int, int, int]]:
    """Return (state, attempt, delivery, origin) by task id; unknown ids are left out."""
    if not task_ids:
        return {}
    rows = c.execute(_STATES, {"the_tasks": list(task_ids)})
    return {row.id: (TaskState(row.state), row.attempt, row.delivery, row.origin) for row in rows}
