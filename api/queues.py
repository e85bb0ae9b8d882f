"""Queues with their numbers of tasks and nodes, read from the database; the broker is not asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from api.answers import Json
from api.context import ApiContext, get_context
from engine.model.states import TaskState
from engine.store import nodes, outbox
from engine.store.database import Connection


def list_queues() -> list[Json]:
    """List the default queue, and all queues that hold tasks or that a node serves."""
    return counts(get_context())


def unserved(context: ApiContext) -> frozenset[str]:
    """Return the names of the queues that no node serves."""
    return frozenset(queue["name"] for queue in counts(context) if not queue["subscribers"])


def waiting(served: Collection[str], queue: str) -> Json | None:
    """Return what WaitingAnswer reads for a task that waits in this queue; None when a live node serves the queue."""
    if queue in served:
        return None
    names = ", ".join(sorted(name for name in served if not name.startswith("!")))
    others = f"served are {names}" if names else "no worker runs"
    start = f"celery -A engine worker -Q {queue}"
    return {
        "code": "unserved",
        "message": f"no worker serves the queue {queue} ({others}); start one: {start}",
    }


def served(c: Connection) -> Counter[str]:
    """Return the number of nodes that serve each queue."""
    return Counter(queue for node in nodes.beating(c) if node.serves for queue in node.queues)


def counts(context: ApiContext) -> list[Json]:
    """Return name, waiting, running and subscribers of each queue, by name."""
    with context.installation.db.read() as c:
        depth, subscribers = outbox.depth(c), served(c)
    names = {
        name
        for name in (*depth, *subscribers, context.installation.settings.broker.default_queue)
        if not name.startswith("!")
    }
    return [
        {
            "name": name,
            "waiting": sum(
                depth.get(name, {}).get(state, 0) for state in (TaskState.PENDING, TaskState.SCHEDULED)
            ),
            "running": depth.get(name, {}).get(TaskState.RUNNING, 0),
            "subscribers": subscribers[name],
        }
        for name in sorted(names)
    ]
