"""Cancelled tasks whose container may still write: a guard of `append_log`, and a query."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from engine.model.states import GONE_NODES, TaskState
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import links, nodes, tasks

#: The task was CANCELLED less than `the_window` milliseconds ago. A cancel is final: no other delivery follows.
HAS_LAST_WORDS = sa.and_(
    tasks.c.state == TaskState.CANCELLED,
    guard(
        "append_log.last_words",
        tasks.c.ended_at > now_ms() - sa.bindparam("the_window", type_=sa.BigInteger()),
    ),
)
#: Its node beats, and has not yet recorded how the container ended.
_SPEAKING = (
    sa.select(tasks.c.id, tasks.c.node)
    .join(nodes, nodes.c.id == tasks.c.node)
    .join(links, sa.and_(links.c.task_id == tasks.c.id, links.c.attempt == tasks.c.attempt))
    .where(
        tasks.c.id.in_(sa.bindparam("the_tasks", expanding=True)),
        HAS_LAST_WORDS,
        nodes.c.state.not_in(GONE_NODES),
        links.c.origin == tasks.c.origin,
        links.c.container_id.is_not(None),
        links.c.exit_code.is_(None),
    )
)


def speaking(c: sa.Connection, task_ids: Sequence[str], window_ms: int) -> dict[str, str]:
    """Return which of these tasks were CANCELLED within `window_ms` and may still write, each with its node."""
    if not task_ids:
        return {}
    rows = c.execute(_SPEAKING, {"the_tasks": list(task_ids), "the_window": window_ms})
    return {row.id: row.node for row in rows}
