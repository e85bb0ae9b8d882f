"""A node's life: join, beat, look, lapse, drain, leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import failpoints
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Node
from engine.model.states import NodeState, TaskState
from engine.store import events, nodes, tasks, workload
from engine.store.database import Connection


@dataclass(frozen=True)
class BeatAnswer:
    """What a beat brings back: whether the node still counts, and how the tasks in its hands stand."""

    fenced: bool
    #: task id -> (state, attempt, delivery).
    running: dict[str, tuple[TaskState, int, int]]
    #: The node is LEAVING: somebody drains it.
    leaving: bool = False
    #: A pass may find something: a task runs somewhere, or a node ended that this one has not looked for.
    calls: bool = True


def join(installation: Installation, caller: Caller, node: Node) -> None:
    """Write a new node, JOINING: it blocks restarts until it has looked.

    Called again with the same node after an unknown commit, it changes nothing.
    """
    with installation.db.begin() as c:
        if nodes.get(c, node.id) is not None:
            return
        nodes.insert(c, node)
        events.add(
            c, caller, "node", node=node.id, to_state=NodeState.JOINING, reason=f"{node.name} on {node.host}"
        )


def become_live(installation: Installation, caller: Caller, looked: int) -> bool:
    """JOINING -> LIVE, after a whole join; False when it was fenced meanwhile."""
    with installation.db.begin() as c:
        done = nodes.move(
            c, caller.node_id, NodeState.LIVE, [NodeState.JOINING], looked=looked, runtime_ok=True
        )
        if done:
            events.add(
                c, caller, "node", node=caller.node_id, from_state=NodeState.JOINING, to_state=NodeState.LIVE
            )
        return done


def beat(installation: Installation, caller: Caller, task_ids: Sequence[str]) -> BeatAnswer:
    """Raise the beat, and read how the tasks in this node's hands stand, in one transaction.

    0 rows mean fenced. An error (StoreUnavailable) means nothing: the beat is tried again.
    """
    with installation.db.begin() as c:
        state = nodes.raise_beat(c, caller.node_id)
        if state is None:
            return BeatAnswer(True, {})
        found = tasks.states(c, task_ids)
        running = {id: (state, a, d) for id, (state, a, d, _) in found.items()}
        calls = workload.calls_for_a_pass(c, caller.node_id)
        return BeatAnswer(False, running, leaving=state is NodeState.LEAVING, calls=calls)


def lapse(installation: Installation, caller: Caller, seen: Node) -> bool:
    """End a node whose beat stood at `seen.beat` for the whole lease; LEAVING ones have LEFT.

    It may hit a node that lives: that one finds itself fenced. True when this call did it.
    """
    with installation.db.begin() as c:
        node = nodes.lock(c, seen.id)
        if node is None or node.beat != seen.beat or node.state.is_gone:
            return False
        to = NodeState.LEFT if node.state is NodeState.LEAVING else NodeState.LAPSED
        number = nodes.next_lapse(c)
        if not nodes.end(c, seen.id, to, number, seen_beat=seen.beat):
            return False
        events.add(
            c,
            caller,
            "node",
            node=seen.id,
            from_state=node.state,
            to_state=to,
            reason=f"{node.name}: {installation.settings.cluster.lease_seconds:g} s without a beat",
        )
        failpoints.hit("lapse.rows")
    failpoints.hit("lapse.committed")
    return True


def drain(installation: Installation, caller: Caller, node_id: str) -> bool:
    """JOINING or LIVE -> LEAVING: it claims nothing more."""
    with installation.db.begin() as c:
        return _move(c, caller, node_id, NodeState.LEAVING, None)


def leave(installation: Installation, caller: Caller) -> bool:
    """LEAVING -> LEFT, after its links were let go; what it had waits restart_grace for a node of its daemon."""
    with installation.db.begin() as c:
        if nodes.lock(c, caller.node_id) is None:
            return False
        done = nodes.end(c, caller.node_id, NodeState.LEFT, nodes.next_lapse(c))
        if done:
            events.add(
                c, caller, "node", node=caller.node_id, from_state=NodeState.LEAVING, to_state=NodeState.LEFT
            )
        return done


def runtime_silent(installation: Installation, caller: Caller) -> None:
    """Its daemon does not answer: it blocks no restart now, and claims nothing."""
    with installation.db.begin() as c:
        nodes.set_runtime_ok(c, caller.node_id, False)
        events.add(c, caller, "node", node=caller.node_id, reason="Docker does not answer")


def runtime_back(installation: Installation, caller: Caller) -> bool:
    """LIVE -> JOINING with runtime_ok: its daemon answers again, and the whole join follows (one way in)."""
    with installation.db.begin() as c:
        return _move(c, caller, caller.node_id, NodeState.JOINING, "Docker answers again", runtime_ok=True)


def looked(installation: Installation, caller: Caller, lapse_no: int) -> None:
    """The node listed its daemon and took over what it found, having read `lapse_no` before."""
    with installation.db.begin() as c:
        nodes.set_looked(c, caller.node_id, lapse_no)


def _move(
    c: Connection, caller: Caller, node_id: str, to: NodeState, reason: str | None, **values: bool
) -> bool:
    """JOINING or LIVE -> `to`, with its event."""
    before = nodes.lock(c, node_id)
    if before is None or not nodes.move(c, node_id, to, [NodeState.JOINING, NodeState.LIVE], **values):
        return False
    events.add(c, caller, "node", node=node_id, from_state=before.state, to_state=to, reason=reason)
    return True


def forget(installation: Installation, caller: Caller, older_than_ms: int) -> int:
    """Delete the rows of ended nodes whose last beat is this old, except those that RUNNING tasks name."""
    with installation.db.begin() as c:
        count = nodes.forget(c, older_than_ms)
        if count:
            events.add(c, caller, "node", reason=f"deleted the rows of ended nodes: {count}")
        return count
