"""Outbox: the PENDING tasks that are due to be sent, and the SCHEDULED ones whose message seems lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import Task
from engine.model.states import WAITING_TASKS, TaskState
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import tasks
from engine.store.tasks import SUMMARY, summary

_OF_IDS = SUMMARY.where(
    tasks.c.id.in_(sa.bindparam("the_tasks", expanding=True)),
    tasks.c.state == TaskState.PENDING,
    tasks.c.not_before <= now_ms(),
).order_by(tasks.c.priority.desc(), tasks.c.not_before, tasks.c.created_at)
_THESE = tasks.c.id.in_(sa.bindparam("the_tasks", expanding=True))
# Locked in the order of ids everywhere, so that two processes cannot wait for each other.
_STILL = (
    sa.select(tasks.c.id, tasks.c.attempt, tasks.c.delivery)
    .where(_THESE, guard("lock_unchanged.state", tasks.c.state == sa.bindparam("the_state")))
    .order_by(tasks.c.id)
    .with_for_update()
)
_MARK_SENT = (
    tasks.update()
    .where(_THESE, guard("mark_sent.state", tasks.c.state == TaskState.PENDING))
    .values(state=TaskState.SCHEDULED, sent_at=now_ms(), sends=tasks.c.sends + 1)
)
_RESEND = (
    tasks.update()
    .where(_THESE, guard("resend.state", tasks.c.state == TaskState.SCHEDULED))
    .values(
        state=TaskState.PENDING,
        not_before=sa.bindparam("the_now"),
        # The next sending counts one again.
        sends=sa.case(
            (tasks.c.sends > 0, tasks.c.sends - sa.bindparam("the_uncounted", type_=sa.Integer())), else_=0
        ),
    )
)
_FOR_EVER = (1 << 62) - 1


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger())


def _is_overdue(doubled: sa.ColumnElement[int], least: Any) -> sa.ColumnElement[bool]:
    bound = least(_number("the_wait") * doubled, _number("the_longest"))
    return sa.and_(tasks.c.state == TaskState.SCHEDULED, tasks.c.sent_at < now_ms() - bound)


_LATE = {
    "sqlite": _is_overdue(sa.literal(1).op("<<")(sa.func.min(tasks.c.sends - 1, 10)), sa.func.min),
    "postgresql": _is_overdue(sa.func.power(2, sa.func.least(tasks.c.sends - 1, 10)), sa.func.least),
}
_OVERDUE_SINCE = {
    name: sa.select(tasks.c.queue, tasks.c.priority, sa.func.min(tasks.c.sent_at).label("at"))
    .where(late)
    .group_by(tasks.c.queue, tasks.c.priority)
    for name, late in _LATE.items()
}
_OVERDUE = {
    name: SUMMARY.where(
        late,
        tasks.c.queue == sa.bindparam("the_queue"),
        tasks.c.priority == _number("the_priority"),
        tasks.c.sent_at <= _number("the_last"),
    )
    .order_by(tasks.c.sent_at)
    .limit(sa.bindparam("the_limit"))
    for name, late in _LATE.items()
}
_DUE = (
    SUMMARY.where(tasks.c.state == TaskState.PENDING, tasks.c.not_before <= now_ms() - _number("the_age"))
    .order_by(tasks.c.priority.desc(), tasks.c.not_before, tasks.c.created_at)
    .limit(sa.bindparam("the_limit"))
)
_QUEUES_OF = sa.select(tasks.c.job_id, tasks.c.queue).where(
    tasks.c.job_id.in_(sa.bindparam("the_jobs", expanding=True)),
    tasks.c.state.in_(WAITING_TASKS),
)
_IN_ORDER = _OF_IDS.with_only_columns(tasks.c.id)


def due(c: sa.Connection, limit: int, older_than_ms: int = 0) -> list[Task]:
    """Return the PENDING rows that are due, the highest priority first, then the longest due."""
    return [summary(row) for row in c.execute(_DUE, {"the_limit": limit, "the_age": older_than_ms})]


def of_ids(c: sa.Connection, task_ids: Sequence[str]) -> list[Task]:
    """Return the tasks with these ids that are PENDING and due."""
    return [summary(row) for row in c.execute(_OF_IDS, {"the_tasks": list(task_ids)})]


def in_order(c: sa.Connection, task_ids: Sequence[str]) -> list[str]:
    """Return these ids as far as the tasks are PENDING and due, in the order of sending."""
    return list(c.scalars(_IN_ORDER, {"the_tasks": list(task_ids)}))


def mark_sent(c: sa.Connection, sent: Sequence[Task]) -> list[Task]:
    """Mark as SCHEDULED the tasks that are still PENDING under their token, after they were sent; return them."""
    return _change(c, sent, TaskState.PENDING, _MARK_SENT)


def resend(c: sa.Connection, lost: Sequence[Task], now: int, *, counts: bool = True) -> list[Task]:
    """Move tasks whose message seems lost from SCHEDULED to PENDING, due `now`, under their token; return them.

    Attempt and delivery stay the same, because nobody claimed them. Unless the loss `counts`, the wait before
    another resend does not grow.
    """
    return _change(c, lost, TaskState.SCHEDULED, _RESEND, the_now=now, the_uncounted=int(not counts))


def _change(
    c: sa.Connection, given: Sequence[Task], state: TaskState, change: sa.Update, **values: int
) -> list[Task]:
    still = lock_unchanged(c, given, state)
    if still:
        c.execute(change, {"the_tasks": [task.id for task in still], **values})
    return still


def lock_unchanged(c: sa.Connection, given: Sequence[Task], state: TaskState) -> list[Task]:
    """Lock the rows and return, by id, the tasks still in `state` with an unchanged token."""
    rows = c.execute(_STILL, {"the_tasks": [task.id for task in given], "the_state": state})
    tokens = {(row.id, row.attempt, row.delivery) for row in rows}
    still = [task for task in given if (task.id, task.attempt, task.delivery) in tokens]
    return sorted(still, key=lambda task: task.id)


def scheduled(c: sa.Connection, limit: int, sent_before: int | None = None) -> list[Task]:
    """Return SCHEDULED rows, the earliest sent first; with `sent_before` (ms) only those sent before then."""
    wanted = SUMMARY.where(tasks.c.state == TaskState.SCHEDULED)
    if sent_before is not None:
        wanted = wanted.where(tasks.c.sent_at < sent_before)
    rows = c.execute(wanted.order_by(tasks.c.sent_at).limit(limit))
    return [summary(row) for row in rows]


def last_claimed(c: sa.Connection, since_ms: int) -> dict[tuple[str, int], int]:
    """Return when the last claimed message was sent, by (queue, priority); claims of the last `since_ms` only."""
    rows = c.execute(
        sa.select(tasks.c.queue, tasks.c.priority, sa.func.max(tasks.c.sent_at).label("at"))
        .where(tasks.c.held_since > now_ms() - since_ms, tasks.c.sent_at.is_not(None))
        .group_by(tasks.c.queue, tasks.c.priority)
    )
    return {(row.queue, row.priority): int(row.at) for row in rows}


def overdue_since(c: sa.Connection, wait_ms: int, longest_ms: int) -> dict[tuple[str, int], int]:
    """Return when the longest overdue SCHEDULED row was sent, by (queue, priority).

    A row is overdue when it is older than its wait: `wait_ms`, doubled with each sending, at most `longest_ms`.
    """
    rows = c.execute(_OVERDUE_SINCE[c.dialect.name], {"the_wait": wait_ms, "the_longest": longest_ms})
    return {(row.queue, row.priority): int(row.at) for row in rows}


def overdue(
    c: sa.Connection,
    kind: tuple[str, int],
    wait_ms: int,
    longest_ms: int,
    limit: int,
    sent_by: int | None = None,
) -> list[Task]:
    """Return the overdue rows of a queue and priority, the earliest sent first; with `sent_by`, only up to then."""
    given = {"the_wait": wait_ms, "the_longest": longest_ms, "the_queue": kind[0], "the_priority": kind[1]}
    given |= {"the_limit": limit, "the_last": sent_by if sent_by is not None else _FOR_EVER}
    return [summary(row) for row in c.execute(_OVERDUE[c.dialect.name], given)]


def queues_of(c: sa.Connection, job_ids: Sequence[str]) -> dict[str, set[str]]:
    """Return the queues in which tasks of these jobs wait, by job; jobs without such a task are left out."""
    queues: dict[str, set[str]] = {}
    if job_ids:
        for job_id, queue in c.execute(_QUEUES_OF, {"the_jobs": list(job_ids)}):
            queues.setdefault(job_id, set()).add(queue)
    return queues


def depth(c: sa.Connection) -> dict[str, dict[str, int]]:
    """Return the number of waiting and running tasks, by queue and state."""
    rows: Any = c.execute(
        sa.select(tasks.c.queue, tasks.c.state, sa.func.count().label("n"))
        .where(tasks.c.state.in_((*WAITING_TASKS, TaskState.RUNNING)))
        .group_by(tasks.c.queue, tasks.c.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row.queue, {})[row.state] = row.n
    return counts
