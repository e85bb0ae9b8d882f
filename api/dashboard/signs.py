"""How states look: a word, a shape of sprite.svg and a tone of the sheet, never a colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.records import Link, Node, Task
from engine.model.states import JobState, LinkState, NodeState, TaskState


@dataclass(frozen=True)
class Sign:
    """What stands for a state or a mark."""

    word: str
    shape: str
    #: idle, running, completed, failed, warn or fix: a class of the sheet.
    tone: str = "idle"


_RUNNING = Sign("Running", "running", "running")
_COMPLETED = Sign("Completed", "completed", "completed")
_FAILED = Sign("Failed", "failed", "failed")
_CANCELLED = Sign("Cancelled", "cancelled")
_SKIPPED = Sign("Skipped", "skipped")

STATES: dict[str, Sign] = {
    "CREATED": Sign("Created", "created"),
    "PENDING": Sign("Pending", "pending"),
    "SCHEDULED": Sign("Scheduled", "scheduled"),
    "RUNNING": _RUNNING,
    "COMPLETED": _COMPLETED,
    "FAILED": _FAILED,
    "CANCELLED": _CANCELLED,
    "SKIPPED": _SKIPPED,
}
_NODES = {
    NodeState.JOINING: Sign("Joining", "pending"),
    NodeState.LIVE: Sign("Live", "alive", "completed"),
    NodeState.LEAVING: Sign("Leaving", "draining", "warn"),
    NodeState.LEFT: Sign("Left", "skipped"),
    NodeState.LAPSED: Sign("Lapsed", "lost", "failed"),
}


def of_state(state: TaskState | JobState, *, unserved: bool = False) -> Sign:
    """A task's or job's state; amber when it waits for a worker that there is not."""
    found = STATES[state]
    waits = state in (TaskState.PENDING, TaskState.SCHEDULED)
    return Sign(found.word, found.shape, "warn") if unserved and waits else found


def of_link(link: Link, task: Task) -> Sign:
    """A link: what its container does, or how it ended."""
    if link.state is LinkState.WAITING:
        return Sign("Waiting", "created") if not task.state.ended else _CANCELLED
    if link.state is LinkState.CONFIRMED:
        present = task.state is TaskState.RUNNING and (link.attempt, link.origin) == (
            task.attempt,
            task.origin,
        )
        return _RUNNING if present else Sign("Stopped", "cancelled")
    if link.state is LinkState.SKIPPED:
        return _SKIPPED
    return _COMPLETED if link.exit_code == 0 else _FAILED


def of_node(node: Node) -> Sign:
    """A node; red when its daemon is silent."""
    if node.state is NodeState.LIVE and not node.runtime_ok:
        return Sign("No Docker", "warning", "failed")
    return _NODES[node.state]


def marks(task: Task) -> tuple[Sign, ...]:
    """What was repaired or tried again, in the task's own figures."""
    found = []
    if task.attempt > 1:
        again = f"{task.attempt - 1} retried" if task.state.ended else f"retry {task.attempt - 1}"
        found.append(Sign(again, "retrying", "idle" if task.state is TaskState.COMPLETED else "warn"))
    # An adoption raises the delivery and keeps the origin; a new start of the chain takes a new origin.
    if task.origin and task.delivery > task.origin:
        found.append(Sign("adopted", "adopted", "fix"))
    if max(task.origin, 0 if task.origin else task.delivery) > 1:
        found.append(Sign("redelivered", "redelivered", "fix"))
    return tuple(found)
