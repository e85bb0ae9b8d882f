"""Standing tasks: RUNNING ones that nothing moves on, for people. No guard reads them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from engine.model.states import GONE_NODES, LinkState, NodeState, TaskState
from engine.store.database import now_ms
from engine.store.tables import links, nodes, tasks


@dataclass(frozen=True)
class StandingTask:
    """RUNNING task without a running container, or with a node that ended long ago."""

    id: str
    name: str
    node_name: str
    node_state: NodeState
    #: Time for which nothing has moved the task on.
    past_ms: int


def _age(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger())


_OF_RUN = sa.and_(
    links.c.task_id == tasks.c.id, links.c.attempt == tasks.c.attempt, links.c.origin == tasks.c.origin
)
_LAST_END = sa.select(sa.func.max(links.c.ended_at)).where(_OF_RUN).scalar_subquery()
_SINCE = sa.case((tasks.c.held_since < _LAST_END, _LAST_END), else_=tasks.c.held_since)
_HAS_CONTAINER = sa.exists().where(_OF_RUN, links.c.state == LinkState.CONFIRMED)
_IS_GONE = nodes.c.state.in_(GONE_NODES)
_IS_IDLE = sa.and_(sa.not_(_IS_GONE), sa.not_(_HAS_CONTAINER), now_ms() - _age("the_idle") >= _SINCE)
_IS_LOST = sa.and_(_IS_GONE, nodes.c.seen_at <= now_ms() - _age("the_lost"))
_STANDING = (
    sa.select(
        tasks.c.id,
        tasks.c.name,
        nodes.c.name.label("node_name"),
        nodes.c.state.label("node_state"),
        (now_ms() - sa.case((_IS_GONE, nodes.c.seen_at), else_=_SINCE)).label("past_ms"),
    )
    .join(nodes, nodes.c.id == tasks.c.node)
    .where(tasks.c.state == TaskState.RUNNING, sa.or_(_IS_IDLE, _IS_LOST))
    .order_by(tasks.c.held_since)
    .limit(sa.bindparam("the_limit"))
)


def tasks_without_progress(
    c: sa.Connection, idle_ms: int, lost_ms: int, limit: int = 20
) -> list[StandingTask]:
    """Return RUNNING tasks without a running container for `idle_ms`, or whose node ended `lost_ms` ago."""
    rows = c.execute(_STANDING, {"the_idle": idle_ms, "the_lost": lost_ms, "the_limit": limit})
    return [
        StandingTask(row.id, row.name, row.node_name, NodeState(row.node_state), int(row.past_ms))
        for row in rows
    ]
