"""Verbs of a node: its states, its beat and looks, its silent runtime, and what holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import failpoints
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Hold, Node
from engine.model.states import HoldKind, NodeState, TaskState
from engine.store import events, nodes, tasks, workload
from engine.store.database import Connection
from engine.wording.durations import duration
from engine.wording.text import foreign_words


@dataclass(frozen=True)
class BeatAnswer:
    """Answer to a beat: whether the node still counts, and the states of its running tasks."""

    fenced: bool
    #: task id -> (state, attempt, delivery).
    running: dict[str, tuple[TaskState, int, int]]
    #: The node is LEAVING: it is being drained.
    leaving: bool = False
    #: A pass may find something: a task runs somewhere, or a node ended for which this node has not looked.
    calls: bool = True


def join(installation: Installation, caller: Caller, node: Node) -> None:
    """Insert a new node, JOINING: it blocks restarts until it has looked.

    A second call with the same node, after a commit whose outcome is unknown, changes nothing.
    """
    with installation.db.begin() as c:
        if nodes.get(c, node.id) is not None:
            return
        nodes.insert(c, node)
        events.add(
            c, caller, "node", node=node.id, to_state=NodeState.JOINING, reason=f"{node.name} on {node.host}"
        )


def become_live(installation: Installation, caller: Caller, looked: int) -> bool:
    """Make a JOINING node LIVE after its join; return False when it was fenced meanwhile."""
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
    """Raise the node's beat and read the states of its running tasks, in one transaction.

    A node without a row is fenced. An error (StoreUnavailable) fences nobody: the beat is tried again.
    """
    with installation.db.begin() as c:
        state = nodes.raise_beat(c, caller.node_id)
        if state is None:
            return BeatAnswer(True, {})
        states = tasks.states(c, task_ids)
        running = {id: (state, a, d) for id, (state, a, d, _) in states.items()}
        calls = workload.needs_pass(c, caller.node_id)
        return BeatAnswer(False, running, leaving=state is NodeState.LEAVING, calls=calls)


def lapse(installation: Installation, caller: Caller, seen: Node) -> bool:
    """End a node whose beat stood still at `seen.beat` for the whole lease, as LAPSED; as LEFT if it was LEAVING.

    A node that runs after all finds itself fenced. Return True when this call ended the node.
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
    """Make a JOINING or LIVE node LEAVING: it claims nothing any more."""
    with installation.db.begin() as c:
        return _move(c, caller, node_id, NodeState.LEAVING, None)


def leave(installation: Installation, caller: Caller) -> bool:
    """Make a LEAVING node LEFT, after it let go of its links; its tasks wait for the grace of a restart."""
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
    """Write that the node's daemon does not answer: the node blocks no restart and claims nothing until it does."""
    with installation.db.begin() as c:
        nodes.set_runtime_ok(c, caller.node_id, False)
        events.add(c, caller, "node", node=caller.node_id, reason="Docker does not answer")


def runtime_back(installation: Installation, caller: Caller) -> bool:
    """Make a LIVE node JOINING because its daemon answers again; the whole join follows, as at the start."""
    with installation.db.begin() as c:
        return _move(c, caller, caller.node_id, NodeState.JOINING, "Docker answers again", runtime_ok=True)


def looked(installation: Installation, caller: Caller, lapse_no: int) -> None:
    """Write that the node read `lapse_no`, then listed its daemon and took over what it found."""
    with installation.db.begin() as c:
        nodes.set_looked(c, caller.node_id, lapse_no)


def serve(installation: Installation, caller: Caller, queues: Sequence[str]) -> None:
    """Write the queues that the calling node consumes now."""
    with installation.db.begin() as c:
        nodes.set_queues(c, caller.node_id, queues)


def hold(installation: Installation, caller: Caller, kind: HoldKind, reason: str) -> bool:
    """Write that the calling node claims nothing for now, and why; of a kind that holds already, keep the time.

    The node keeps its state: it beats, adopts and blocks restarts as before, its containers go on, and no guard reads
    its holds. Return False when the node has ended.
    """
    reason = foreign_words(reason)
    with installation.db.begin() as c:
        node = nodes.lock(c, caller.node_id)
        if node is None:
            return False
        since = next((held.since for held in node.holds if held.kind is kind), None)
        holds = [held for held in node.holds if held.kind is not kind]
        holds.append(Hold(kind, reason, tasks.now(c) if since is None else since))
        if not nodes.set_holds(c, node.id, holds):
            return False
        if since is None:
            events.add(c, caller, "node", node=node.id, reason=f"held ({kind}): {reason}")
        failpoints.hit("hold.rows")
    failpoints.hit("hold.committed")
    return True


def release(installation: Installation, caller: Caller, kind: HoldKind) -> bool:
    """Write that this kind no longer holds the calling node, which claims again when no other kind does.

    Return False when the kind did not hold the node, or the node has ended.
    """
    with installation.db.begin() as c:
        node = nodes.lock(c, caller.node_id)
        if node is None:
            return False
        held = next((held for held in node.holds if held.kind is kind), None)
        if held is None or not nodes.set_holds(c, node.id, [other for other in node.holds if other != held]):
            return False
        past = duration(tasks.now(c) - held.since)
        events.add(c, caller, "node", node=node.id, reason=f"released ({kind}) after {past}")
        failpoints.hit("release.rows")
    failpoints.hit("release.committed")
    return True


def _move(
    c: Connection, caller: Caller, node_id: str, to: NodeState, reason: str | None, **values: bool
) -> bool:
    """Move a JOINING or LIVE node to `to`, with its event."""
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
