"""Queues with their numbers of tasks and nodes, read from the database; the broker is not asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from api.answers import Json
from api.context import ApiContext, get_context
from engine.model.records import Node
from engine.model.states import WAITING_TASKS, TaskState
from engine.store import nodes, outbox
from engine.store.database import Connection


def list_queues() -> list[Json]:
    """List the default queue, and all queues that hold tasks or that a node serves."""
    context = get_context()
    with context.installation.db.read() as c:
        return counts(context, c, nodes.beating(c))


def waiting(beating: Sequence[Node], queue: str) -> Json | None:
    """Return what WaitingAnswer reads for a task that waits in this queue; None when a node serves the queue."""
    of_queue = [node for node in beating if queue in node.queues]
    if any(node.serves for node in of_queue):
        return None
    if held := next((node for node in of_queue if node.holds), None):
        message = f"no worker serves the queue {queue} now: {held.name} is held ({held.holds[0].reason})"
        return {"code": "held", "message": message}
    names = ", ".join(sorted(name for name in served(beating) if not name.startswith("!")))
    others = f"served are {names}" if names else "no worker runs"
    start = f"celery -A engine worker -Q {queue}"
    return {
        "code": "unserved",
        "message": f"no worker serves the queue {queue} ({others}); start one: {start}",
    }


def served(beating: Sequence[Node]) -> Counter[str]:
    """Return the number of nodes that serve each queue."""
    return Counter(queue for node in beating if node.serves for queue in node.queues)


def counts(context: ApiContext, c: Connection, beating: Sequence[Node]) -> list[Json]:
    """Return name, waiting, running and subscribers of each queue, by name."""
    depth, subscribers = outbox.depth(c), served(beating)
    names = {
        name
        for name in (*depth, *subscribers, context.installation.settings.broker.default_queue)
        if not name.startswith("!")
    }
    return [
        {
            "name": name,
            "waiting": sum(depth.get(name, {}).get(state, 0) for state in WAITING_TASKS),
            "running": depth.get(name, {}).get(TaskState.RUNNING, 0),
            "subscribers": subscribers[name],
        }
        for name in sorted(names)
    ]
