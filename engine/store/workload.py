"""One look at whether there is anything to do at all: an idle process asks nothing else.

A glance decides nothing. Whoever is called by it reads the rows it acts on, and every guard is the verb's.
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
    """What one look saw."""

    #: id -> beat of the nodes that are watched.
    beats: Mapping[str, int]
    #: The last lapse number that was given.
    lapse_no: int
    #: A RUNNING task names a node that is LAPSED or LEFT.
    lost: bool
    #: A task is SCHEDULED: its message is to be in the broker.
    scheduled: bool
    #: A PENDING task has been due for `due_ms`.
    due: bool


def _literal(word: str) -> sa.ColumnElement[str]:
    # Written out, not bound: only so does PostgreSQL see that the partial index holds what is asked for.
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
# One question for all: what a question costs beside its answer is most of it.
_LOOK = sa.union_all(
    sa.select(sa.null().label("id"), sa.null().label("beat"), *_MORE),
    _BEATS.add_columns(*_NONE),
)
_BEHIND = sa.exists().where(
    nodes.c.id == sa.bindparam("the_node"), nodes.c.looked < sa.func.coalesce(_LAST_LAPSE, 0)
)
_CALLS = sa.select(sa.or_(_task_in(TaskState.RUNNING), _BEHIND))


def beats(c: sa.Connection) -> dict[str, int]:
    """id -> beat of the nodes whose beat is watched."""
    return {row.id: int(row.beat) for row in c.execute(_BEATS)}


def look(c: sa.Connection, due_ms: int) -> Workload:
    """What a reconciler may have to do; PENDING rows count once they have been due for `due_ms`."""
    seen: dict[str, int] = {}
    more: tuple[Any, ...] = (0, False, False, False)
    for id, beat, *rest in c.execute(_LOOK, {"due_ms": due_ms}):
        if id is None:
            more = tuple(rest)
        else:
            seen[id] = int(beat)
    lapse_no, lost, scheduled, due = more
    return Workload(seen, int(lapse_no), bool(lost), bool(scheduled), bool(due))


def calls_for_a_pass(c: sa.Connection, node_id: str) -> bool:
    """Whether a pass of this node may find something: a task runs somewhere, or it has not looked since a lapse."""
    return bool(c.scalar(_CALLS, {"the_node": node_id}))
