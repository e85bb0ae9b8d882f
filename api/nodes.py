"""Nodes: list and read the worker processes, and drain one."""

from __future__ import annotations

from collections.abc import Sequence

from api.answers import Json
from api.context import get_caller, get_context
from api.problem import RequestRefused
from engine.errors import Ambiguous, NotFound
from engine.lifecycle import nodes as verbs
from engine.model.records import Node
from engine.model.states import NodeState
from engine.store import nodes

#: The newest nodes, among which a name or the beginning of an id is looked up.
_MOST_NODES = 1000
#: At most this many of a node's tasks are listed; all are counted.
_MOST_TASKS = 100


def list_nodes() -> list[Node]:
    """List the newest 200 nodes: first those whose beat goes on, then those that ended last."""
    with get_context().installation.db.read() as c:
        return list(nodes.recent(c))


def get_node(id: str) -> Json:
    """Return a node with the tasks that it runs; the id may be its name, or the unique beginning of either."""
    with get_context().installation.db.read() as c:
        node = match_node(nodes.recent(c, _MOST_NODES), id)
        running, listed = nodes.work(c, node.id, _MOST_TASKS)
    return {**vars(node), "running": running, "tasks": [{"id": id, "name": name} for id, name in listed]}


def drain_node(id: str) -> Node:
    """Drain a node: it takes no new task, ends the tasks that it has, and leaves. Repeating this is safe."""
    context = get_context()
    with context.installation.db.read() as c:
        node = match_node(nodes.recent(c, _MOST_NODES), id)
    if node.state is not NodeState.LEAVING and not node.state.is_gone:
        verbs.drain(context.installation, get_caller(), node.id)
    with context.installation.db.read() as c:
        after = nodes.get(c, node.id) or node
    return _check_not_gone(node, after)


def _check_not_gone(before: Node, after: Node) -> Node:
    """Return the drained node. Raises RequestRefused (409) when it had ended before, or lapsed meanwhile."""
    if before.state.is_gone or after.state is NodeState.LAPSED:
        found = f"node {after.id} ({after.name}) is already {after.state} and cannot be drained"
        raise RequestRefused(409, found, "`ferryman nodes` lists the live nodes")
    return after


def match_node(nodes: Sequence[Node], wanted: str) -> Node:
    """Return the node with this id or name, or the unique beginning of either; ended nodes are tried last.

    Raises NotFound and Ambiguous.
    """
    for candidates in ([node for node in nodes if not node.state.is_gone], nodes):
        exact = [node for node in candidates if wanted in (node.id, node.name)]
        matches = exact or [
            node for node in candidates if node.id.startswith(wanted) or node.name.startswith(wanted)
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise Ambiguous("node", wanted)
    raise NotFound("node", wanted)
