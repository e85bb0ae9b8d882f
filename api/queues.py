"""Queues with their numbers of tasks and nodes, read from the database; the broker is not asked."""

from __future__ import annotations

from collections import Counter

from api.answers import Json
from api.context import ApiContext, get_context
from engine.model.states import TaskState
from engine.store import nodes, outbox


def list_queues() -> list[Json]:
    """List the default queue, and all queues that hold tasks or that a node serves."""
    return counts(get_context())


def unserved(context: ApiContext) -> frozenset[str]:
    """Return the names of the queues that no node serves."""
    return frozenset(queue["name"] for queue in counts(context) if not queue["subscribers"])


def counts(context: ApiContext) -> list[Json]:
    """Return name, waiting, running and subscribers of each queue, by name."""
    with context.installation.db.read() as c:
        depth, beating = outbox.depth(c), nodes.beating(c)
    served = Counter(queue for node in beating if node.serves for queue in node.queues)
    names = {
        name
        for name in (*depth, *served, context.installation.settings.broker.default_queue)
        if not name.startswith("!")
    }
    return [
        {
            "name": name,
            "waiting": sum(
                depth.get(name, {}).get(state, 0) for state in (TaskState.PENDING, TaskState.SCHEDULED)
            ),
            "running": depth.get(name, {}).get(TaskState.RUNNING, 0),
            "subscribers": served[name],
        }
        for name in sorted(names)
    ]
