"""Nodes: beats, lapses, and the counter that puts lapses in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import Hold, Node
from engine.model.states import BEATING_NODES, GONE_NODES, HoldKind, NodeState, TaskState
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import lapses, nodes, tasks

# Built once, as in engine.store.tasks.
_THIS = nodes.c.id == sa.bindparam("the_node")
_GET = sa.select(nodes).where(_THIS)
_SHARE = _GET.with_for_update(read=True)
_LOCK = _GET.with_for_update()
_HAS_BEAT = nodes.c.state.in_(BEATING_NODES)
_IS_GONE = nodes.c.state.in_(GONE_NODES)
_INSERT = nodes.insert().values(
    state=NodeState.JOINING, beat=0, looked=0, started_at=now_ms(), seen_at=now_ms()
)
_BEATING = sa.select(nodes).where(_HAS_BEAT).order_by(nodes.c.started_at)
_RECENT = sa.select(nodes).order_by(sa.case((_HAS_BEAT, 0), else_=1), nodes.c.started_at.desc())
_RAISE_BEAT = (
    nodes.update()
    .where(_THIS, guard("beat.state", _HAS_BEAT))
    .values(beat=nodes.c.beat + 1, seen_at=now_ms())
    .returning(nodes.c.state)
)
_NEXT_LAPSE = lapses.update().values(last=lapses.c.last + 1).returning(lapses.c.last)
_LAST_LAPSE = sa.select(lapses.c.last)
_END = nodes.update().values(state=sa.bindparam("the_state"), lapse_no=sa.bindparam("the_lapse"))
_LAPSE = _END.where(
    _THIS,
    guard("lapse.state", _HAS_BEAT),
    guard("lapse.beat", nodes.c.beat == sa.bindparam("the_beat")),
)
_LEAVE = _END.where(_THIS, guard("leave.state", nodes.c.state == NodeState.LEAVING))
_OK = sa.bindparam("the_ok", type_=sa.Boolean())
_LOOKED = sa.bindparam("the_looked", type_=sa.BigInteger())
_MOVE = (
    nodes.update()
    .where(_THIS, guard("move_node.state", nodes.c.state.in_(sa.bindparam("the_states", expanding=True))))
    .values(
        state=sa.bindparam("the_state"),
        runtime_ok=sa.func.coalesce(_OK, nodes.c.runtime_ok),
        looked=sa.func.coalesce(_LOOKED, nodes.c.looked),
    )
)
_SET_LOOKED = (
    nodes.update().where(_THIS, guard("looked.forward", nodes.c.looked < _LOOKED)).values(looked=_LOOKED)
)
_SET_QUEUES = nodes.update().where(_THIS).values(queues=sa.bindparam("the_queues", type_=nodes.c.queues.type))
_SET_RUNTIME_OK = nodes.update().where(_THIS).values(runtime_ok=_OK)
_SET_HOLDS = (
    nodes.update().where(_THIS, guard("hold.state", _HAS_BEAT)).values(holds=sa.bindparam("the_holds"))
)
_GONE = (
    sa.select(nodes.c.id).where(_IS_GONE).order_by(nodes.c.lapse_no.desc()).limit(sa.bindparam("the_limit"))
)
_HAS_TASK = sa.exists().where(tasks.c.node == nodes.c.id, tasks.c.state == TaskState.RUNNING)
_FORGET = nodes.delete().where(
    guard("forget.state", _IS_GONE),
    guard("forget.age", nodes.c.seen_at < now_ms() - sa.bindparam("the_age", type_=sa.BigInteger())),
    guard("forget.tasks", sa.not_(_HAS_TASK)),
)


def record(row: sa.Row[Any]) -> Node:
    """Return the record of a row that has all columns of `nodes`."""
    values = dict(row._mapping)
    holds = tuple(Hold(HoldKind(kind), reason, since) for kind, reason, since in values["holds"])
    changed = {"state": NodeState(values["state"]), "queues": tuple(values["queues"]), "holds": holds}
    return Node(**{**values, **changed})


def insert(c: sa.Connection, node: Node) -> None:
    """Insert a new node, JOINING. Ids are never used again."""
    names = ("id", "name", "host", "runtime_ok", "slots", "daemon")
    c.execute(_INSERT, {name: getattr(node, name) for name in names} | {"queues": list(node.queues)})


def get(c: sa.Connection, node_id: str) -> Node | None:
    """Return the node, or None."""
    row = c.execute(_GET, {"the_node": node_id}).one_or_none()
    return record(row) if row else None


def share(c: sa.Connection, node_id: str) -> Node | None:
    """Lock the node's row against changes until the end of the transaction (FOR SHARE), and return the node."""
    row = c.execute(_SHARE, {"the_node": node_id}).one_or_none()
    return record(row) if row else None


def lock(c: sa.Connection, node_id: str) -> Node | None:
    """Lock the node's row until the end of the transaction, and return the node."""
    row = c.execute(_LOCK, {"the_node": node_id}).one_or_none()
    return record(row) if row else None


def beating(c: sa.Connection) -> list[Node]:
    """Return the nodes whose beat is watched: JOINING, LIVE, LEAVING."""
    return [record(row) for row in c.execute(_BEATING)]


def recent(c: sa.Connection, limit: int = 200) -> list[Node]:
    """Return nodes for people: those with a beat first, then the others, the latest started first."""
    return [record(row) for row in c.execute(_RECENT.limit(limit))]


def work(c: sa.Connection, node_id: str, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of tasks RUNNING there, and id and name of at most `limit` of them, the oldest first."""
    rows = c.execute(
        sa.select(tasks.c.id, tasks.c.name, sa.func.count().over())
        .where(tasks.c.node == node_id, tasks.c.state == TaskState.RUNNING)
        .order_by(tasks.c.started_at, tasks.c.id)
        .limit(limit)
    ).all()
    return (int(rows[0][2]) if rows else 0), [(str(id), str(name)) for id, name, _ in rows]


def raise_beat(c: sa.Connection, node_id: str) -> NodeState | None:
    """Raise the beat by one and return the node's state; None: this node was fenced."""
    state = c.scalar(_RAISE_BEAT, {"the_node": node_id})
    return None if state is None else NodeState(state)


def next_lapse(c: sa.Connection) -> int:
    """Return the next lapse number; the counter's row stays locked, so numbers are in commit order."""
    return int(c.scalar(_NEXT_LAPSE) or 0)


def last_lapse(c: sa.Connection) -> int:
    """Return the last lapse number that was given."""
    return int(c.scalar(_LAST_LAPSE) or 0)


def end(
    c: sa.Connection, node_id: str, to: NodeState, lapse_no: int, *, seen_beat: int | None = None
) -> bool:
    """Move a node whose beat stood still at `seen_beat`, or without one a LEAVING node, to LAPSED or LEFT."""
    params = {"the_node": node_id, "the_state": to, "the_lapse": lapse_no}
    if seen_beat is None:
        return c.execute(_LEAVE, params).rowcount == 1
    return c.execute(_LAPSE, params | {"the_beat": seen_beat}).rowcount == 1


def move(
    c: sa.Connection,
    node_id: str,
    to: NodeState,
    come_from: Sequence[NodeState],
    *,
    runtime_ok: bool | None = None,
    looked: int | None = None,
) -> bool:
    """Change the state of a node, and the columns that are given with it; refused from any other state."""
    params = {"the_node": node_id, "the_states": list(come_from), "the_state": to}
    return c.execute(_MOVE, {**params, "the_ok": runtime_ok, "the_looked": looked}).rowcount == 1


def set_looked(c: sa.Connection, node_id: str, lapse_no: int) -> None:
    """Note that the node has read this lapse number, then listed its daemon and taken over what it found."""
    c.execute(_SET_LOOKED, {"the_node": node_id, "the_looked": lapse_no})


def set_runtime_ok(c: sa.Connection, node_id: str, ok: bool) -> None:
    """Note whether the node's runtime answers. Back to True is a join, see engine.lifecycle.nodes."""
    c.execute(_SET_RUNTIME_OK, {"the_node": node_id, "the_ok": ok})


def set_queues(c: sa.Connection, node_id: str, queues: Sequence[str]) -> None:
    """Note the queues that the node consumes."""
    c.execute(_SET_QUEUES, {"the_node": node_id, "the_queues": list(queues)})


def set_holds(c: sa.Connection, node_id: str, holds: Sequence[Hold]) -> bool:
    """Replace the holds of a node that has not ended."""
    return c.execute(_SET_HOLDS, {"the_node": node_id, "the_holds": list(holds)}).rowcount == 1


def gone(c: sa.Connection, limit: int = 1000) -> list[str]:
    """Return the ids of LAPSED and LEFT nodes, the latest first."""
    return [str(id) for id in c.scalars(_GONE, {"the_limit": limit})]


def forget(c: sa.Connection, older_than_ms: int) -> int:
    """Delete LAPSED and LEFT nodes whose last beat is this old and that no RUNNING task names; return how many."""
    return c.execute(_FORGET, {"the_age": older_than_ms}).rowcount
