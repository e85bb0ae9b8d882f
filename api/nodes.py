"""Nodes: the worker processes, what one runs, and how it is drained."""

from __future__ import annotations

from collections.abc import Sequence

from api import answers
from api.context import ApiContext, get_context
from api.problem import Refused
from engine.errors import Ambiguous, NotFound
from engine.lifecycle import nodes as verbs
from engine.lifecycle.installation import Installation
from engine.model.records import Node
from engine.model.states import NodeState
from engine.store import nodes

_GONE = (NodeState.LEFT, NodeState.LAPSED)
_KNOWN = 1000
#: So many of a node's tasks are named; all are counted.
_NAMED = 100


def list_nodes() -> list[answers.Json]:
    """The workers: those that beat first, then those that ended last."""
    return find(get_context())


def get_node(id: str) -> answers.Json:
    """A node by its id, its name, or a beginning of either, with what runs there."""
    return read(get_context(), id)


def drain_node(id: str) -> answers.Json:
    """Have a node take nothing new, carry on what it has, and leave. Asked again, it changes nothing."""
    context = get_context()
    return drain(context, id)


def find(context: ApiContext) -> list[answers.Json]:
    """The answers for the newest 200 nodes."""
    with context.db.read() as c:
        return [answers.node(node) for node in nodes.recent(c)]


def read(context: ApiContext, id: str) -> answers.Json:
    """The answer for one node. Raises NotFound and Ambiguous."""
    with context.db.read() as c:
        node = pick(nodes.recent(c, _KNOWN), id)
        running, named = nodes.work(c, node.id, _NAMED)
    its = [{"id": task_id, "name": name} for task_id, name in named]
    return {**answers.node(node), "running": running, "tasks": its}


def drain(context: ApiContext, id: str) -> answers.Json:
    """The node after it. Raises NotFound, Ambiguous, and Refused (409) for one that has ended."""
    with context.db.read() as c:
        node = pick(nodes.recent(c, _KNOWN), id)
    if node.state is not NodeState.LEAVING and node.state not in _GONE:
        verbs.drain(Installation(context.db, context.settings, context.installation), node.id)
    with context.db.read() as c:
        after = nodes.get(c, node.id) or node
    if node.state in _GONE or after.state is NodeState.LAPSED:
        what = f"node {node.id} ({node.name}) is {after.state} already"
        raise Refused(409, what, "there is nothing to drain; `ferryman nodes` lists those that live")
    return answers.node(after)


def pick(known: Sequence[Node], asked: str) -> Node:
    """The node that an id, a name, or a beginning of either means; one that beats before one that ended."""
    for some in ([n for n in known if n.state not in _GONE], known):
        exact = [n for n in some if asked in (n.id, n.name)]
        fits = exact or [n for n in some if n.id.startswith(asked) or n.name.startswith(asked)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise Ambiguous("node", asked)
    raise NotFound("node", asked)
