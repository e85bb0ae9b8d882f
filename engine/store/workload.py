"""Summary of the work to do, in one query: an idle process asks nothing else.

It decides nothing: the passes that it wakes read the rows that they act on, and the guards are the verbs'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from engine.model.states import BEATING_NODES, GONE_NODES, TaskState
from engine.store.database import now_ms
from engine.store.tables import lapses, nodes, tasks


@dataclass(frozen=True)
class Workload:
    """Work to do, as one query saw it."""

    #: Beats of the nodes that have one, by id.
    beats: Mapping[str, int]
    #: The last lapse number that was given.
    lapse_no: int
    #: A RUNNING task names a node that is LAPSED or LEFT.
    lost: bool
    #: A task is SCHEDULED: the broker must have its message.
    scheduled: bool
    #: A PENDING task has been due for `due_ms`.
    due: bool


def _literal(word: str) -> sa.ColumnElement[str]:
    # Written out, not bound: PostgreSQL must see that the partial index covers the condition.
    return sa.literal_column(f"'{word}'", sa.String)


def _task_in(state: TaskState, *more: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(tasks.c.state == _literal(state), *more)


_LAST_LAPSE = sa.select(lapses.c.last).scalar_subquery()
_GONE = sa.exists().where(
    nodes.c.id == tasks.c.node, nodes.c.state.in_([_literal(word) for word in GONE_NODES])
)

# Built once: each process asks each second.
_BEATS = sa.select(nodes.c.id, nodes.c.beat).where(
    nodes.c.state.in_([_literal(word) for word in BEATING_NODES])
)
_MORE = (
    sa.func.coalesce(_LAST_LAPSE, 0),
    _task_in(TaskState.RUNNING, _GONE),
    _task_in(TaskState.SCHEDULED),
    _task_in(TaskState.PENDING, tasks.c.not_before <= now_ms() - sa.bindparam("due_ms", type_=sa.BigInteger)),
)
_NONE = [sa.null() for _ in range(4)]
# One statement, because most of the cost is the round trip.
_READ = sa.union_all(
    sa.select(sa.null().label("id"), sa.null().label("beat"), *_MORE),
    _BEATS.add_columns(*_NONE),
)
_BEHIND = sa.exists().where(
    nodes.c.id == sa.bindparam("the_node"), nodes.c.looked < sa.func.coalesce(_LAST_LAPSE, 0)
)
_NEEDS_PASS = sa.select(sa.or_(_task_in(TaskState.RUNNING), _BEHIND))


def beats(c: sa.Connection) -> dict[str, int]:
    """Return the beats of the nodes that have one, by id."""
    return {row.id: int(row.beat) for row in c.execute(_BEATS)}


def read(c: sa.Connection, due_ms: int) -> Workload:
    """Return what a reconciler may have to do; PENDING rows count once they have been due for `due_ms`."""
    seen: dict[str, int] = {}
    more: tuple[Any, ...] = (0, False, False, False)
    for id, beat, *rest in c.execute(_READ, {"due_ms": due_ms}):
        if id is None:
            more = tuple(rest)
        else:
            seen[id] = int(beat)
    lapse_no, lost, scheduled, due = more
    return Workload(seen, int(lapse_no), bool(lost), bool(scheduled), bool(due))


def needs_pass(c: sa.Connection, node_id: str) -> bool:
    """Return whether this node's pass may find something: a task runs somewhere, or a lapse is newer than its looks."""
    return bool(c.scalar(_NEEDS_PASS, {"the_node": node_id}))
