"""Nodes: beats, lapses, and the counter that gives lapses their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import Node
from engine.model.states import BEATING_NODES, GONE_NODES, NodeState, TaskState
from engine.store.database import now_ms
from engine.store.tables import lapses, nodes, tasks

# Built once, as in engine.store.tasks.
_THIS = nodes.c.id == sa.bindparam("the_node")
_GET = sa.select(nodes).where(_THIS)
_SHARE = _GET.with_for_update(read=True)
_LOCK = _GET.with_for_update()
_IS_BEATING = nodes.c.state.in_(BEATING_NODES)
_INSERT = nodes.insert().values(
    state=NodeState.JOINING, beat=0, looked=0, started_at=now_ms(), seen_at=now_ms()
)
_ALL_BEATING = sa.select(nodes).where(_IS_BEATING).order_by(nodes.c.started_at)
_RAISE = (
    nodes.update()
    .where(_THIS, _IS_BEATING)
    .values(beat=nodes.c.beat + 1, seen_at=now_ms())
    .returning(nodes.c.state)
)
_NEXT_LAPSE = lapses.update().values(last=lapses.c.last + 1).returning(lapses.c.last)
_LAST_LAPSE = sa.select(lapses.c.last)
_LAPSE = nodes.update().where(_THIS, _IS_BEATING, nodes.c.beat == sa.bindparam("the_beat"))
_LEAVE = nodes.update().where(_THIS, nodes.c.state == NodeState.LEAVING)
_MOVE = nodes.update().where(_THIS, nodes.c.state.in_(sa.bindparam("the_states", expanding=True)))
_LOOKED = (
    nodes.update()
    .where(_THIS, nodes.c.looked < sa.bindparam("the_lapse"))
    .values(looked=sa.bindparam("the_lapse"))
)
_SET = nodes.update().where(_THIS)
_ENDED = (
    sa.select(nodes.c.id)
    .where(nodes.c.state.in_(GONE_NODES))
    .order_by(nodes.c.lapse_no.desc())
    .limit(sa.bindparam("the_limit"))
)


def _record(row: sa.Row[Any]) -> Node:
    found = dict(row._mapping)
    return Node(**{**found, "state": NodeState(found["state"]), "queues": tuple(found["queues"])})


def insert(c: sa.Connection, node: Node) -> None:
    """A new node, JOINING. Ids are never used again."""
    c.execute(
        _INSERT,
        {
            "id": node.id,
            "name": node.name,
            "host": node.host,
            "runtime_ok": node.runtime_ok,
            "queues": list(node.queues),
            "slots": node.slots,
            "daemon": node.daemon,
        },
    )


def get(c: sa.Connection, node_id: str) -> Node | None:
    """The node, or None."""
    row = c.execute(_GET, {"the_node": node_id}).one_or_none()
    return _record(row) if row else None


def share(c: sa.Connection, node_id: str) -> Node | None:
    """The node, its row kept from changing until the end of the transaction (FOR SHARE)."""
    row = c.execute(_SHARE, {"the_node": node_id}).one_or_none()
    return _record(row) if row else None


def lock(c: sa.Connection, node_id: str) -> Node | None:
    """The node with its row locked until the end of the transaction."""
    row = c.execute(_LOCK, {"the_node": node_id}).one_or_none()
    return _record(row) if row else None


def beating(c: sa.Connection) -> list[Node]:
    """The nodes whose beat is watched: JOINING, LIVE, LEAVING."""
    return [_record(row) for row in c.execute(_ALL_BEATING)]


def recent(c: sa.Connection, limit: int = 200) -> list[Node]:
    """Nodes for people: the beating ones first, then those that ended last."""
    first = sa.case((_IS_BEATING, 0), else_=1)
    rows = c.execute(sa.select(nodes).order_by(first, nodes.c.started_at.desc()).limit(limit))
    return [_record(row) for row in rows]


def work(c: sa.Connection, node_id: str, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """How many tasks are RUNNING there, and id and name of `limit` of them at most, the oldest first."""
    rows = c.execute(
        sa.select(tasks.c.id, tasks.c.name, sa.func.count().over())
        .where(tasks.c.node == node_id, tasks.c.state == TaskState.RUNNING)
        .order_by(tasks.c.started_at, tasks.c.id)
        .limit(limit)
    ).all()
    return (int(rows[0][2]) if rows else 0), [(str(id), str(name)) for id, name, _ in rows]


def raise_beat(c: sa.Connection, node_id: str) -> NodeState | None:
    """beat + 1, and the state in which the node beats; None: this node was fenced."""
    state = c.scalar(_RAISE, {"the_node": node_id})
    return None if state is None else NodeState(state)


def next_lapse(c: sa.Connection) -> int:
    """The next lapse number; the counter's row stays locked, so numbers are in commit order."""
    return int(c.scalar(_NEXT_LAPSE) or 0)


def last_lapse(c: sa.Connection) -> int:
    """The last lapse number that was given."""
    return int(c.scalar(_LAST_LAPSE) or 0)


def end(
    c: sa.Connection, node_id: str, to: NodeState, lapse_no: int, *, seen_beat: int | None = None
) -> bool:
    """A node LAPSED (its beat stood at `seen_beat`) or LEFT (from LEAVING)."""
    values = {"the_node": node_id, "state": to, "lapse_no": lapse_no}
    if seen_beat is None:
        return c.execute(_LEAVE, values).rowcount == 1
    return c.execute(_LAPSE, values | {"the_beat": seen_beat}).rowcount == 1


def move(
    c: sa.Connection, node_id: str, to: NodeState, come_from: Sequence[NodeState], **values: Any
) -> bool:
    """A state change of a node that still beats, with further columns (`runtime_ok`, `looked`)."""
    given = {"the_node": node_id, "the_states": list(come_from), "state": to, **values}
    return c.execute(_MOVE, given).rowcount == 1


def set_looked(c: sa.Connection, node_id: str, lapse_no: int) -> None:
    """It listed its daemon and took over what it found, having read this lapse number before."""
    c.execute(_LOOKED, {"the_node": node_id, "the_lapse": lapse_no})


def set_runtime_ok(c: sa.Connection, node_id: str, ok: bool) -> None:
    """Whether its daemon answers. Back to True is a join (protocol: ok-at-once), see lifecycle.nodes."""
    c.execute(_SET, {"the_node": node_id, "runtime_ok": ok})


def ended(c: sa.Connection, limit: int = 1000) -> list[str]:
    """Ids of LAPSED and LEFT nodes, the latest first."""
    return [str(id) for id in c.scalars(_ENDED, {"the_limit": limit})]


def forget(c: sa.Connection, older_than_ms: int) -> int:
    """Delete LAPSED and LEFT nodes that no RUNNING task names and that last beat so long ago; how many."""
    named = sa.exists().where(tasks.c.node == nodes.c.id, tasks.c.state == TaskState.RUNNING)
    return c.execute(
        nodes.delete().where(
            nodes.c.state.in_(GONE_NODES),
            nodes.c.seen_at < now_ms() - older_than_ms,
            sa.not_(named),
        )
    ).rowcount
