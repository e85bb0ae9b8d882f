"""How states look: a word, a shape of sprite.svg and a tone of the sheet, never a colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.records import Link, Node, Task
from engine.model.states import JobState, LinkState, NodeState, TaskState


@dataclass(frozen=True)
class Badge:
    """What stands for a state or a mark."""

    word: str
    shape: str
    #: idle, running, completed, failed, warn or fix: a class of the sheet.
    tone: str = "idle"


_RUNNING = Badge("Running", "running", "running")
_COMPLETED = Badge("Completed", "completed", "completed")
_FAILED = Badge("Failed", "failed", "failed")
_CANCELLED = Badge("Cancelled", "cancelled")
_SKIPPED = Badge("Skipped", "skipped")

STATES: dict[str, Badge] = {
    "CREATED": Badge("Created", "created"),
    "PENDING": Badge("Pending", "pending"),
    "SCHEDULED": Badge("Scheduled", "scheduled"),
    "RUNNING": _RUNNING,
    "COMPLETED": _COMPLETED,
    "FAILED": _FAILED,
    "CANCELLED": _CANCELLED,
    "SKIPPED": _SKIPPED,
}
_NODES = {
    NodeState.JOINING: Badge("Joining", "pending"),
    NodeState.LIVE: Badge("Live", "alive", "completed"),
    NodeState.LEAVING: Badge("Leaving", "draining", "warn"),
    NodeState.LEFT: Badge("Left", "skipped"),
    NodeState.LAPSED: Badge("Lapsed", "lost", "failed"),
}


def of_state(state: TaskState | JobState, *, unserved: bool = False) -> Badge:
    """A task's or job's state; amber when it waits for a worker that there is not."""
    found = STATES[state]
    waits = state in (TaskState.PENDING, TaskState.SCHEDULED)
    return Badge(found.word, found.shape, "warn") if unserved and waits else found


def of_link(link: Link, task: Task) -> Badge:
    """A link: what its container does, or how it ended."""
    if link.state is LinkState.WAITING:
        return Badge("Waiting", "created") if not task.state.ended else _CANCELLED
    if link.state is LinkState.CONFIRMED:
        present = task.state is TaskState.RUNNING and (link.attempt, link.origin) == (
            task.attempt,
            task.origin,
        )
        return _RUNNING if present else Badge("Stopped", "cancelled")
    if link.state is LinkState.SKIPPED:
        return _SKIPPED
    return _COMPLETED if link.exit_code == 0 else _FAILED


def of_node(node: Node) -> Badge:
    """A node; red when its daemon is silent."""
    if node.state is NodeState.LIVE and not node.runtime_ok:
        return Badge("No Docker", "warning", "failed")
    return _NODES[node.state]


def marks(task: Task) -> tuple[Badge, ...]:
    """What was repaired or tried again, in the task's own figures."""
    found = []
    if task.attempt > 1:
        again = f"{task.attempt - 1} retried" if task.state.ended else f"retry {task.attempt - 1}"
        found.append(Badge(again, "retrying", "idle" if task.state is TaskState.COMPLETED else "warn"))
    # An adoption raises the delivery and keeps the origin; a new start of the chain takes a new origin.
    if task.origin and task.delivery > task.origin:
        found.append(Badge("adopted", "adopted", "fix"))
    if max(task.origin, 0 if task.origin else task.delivery) > 1:
        found.append(Badge("redelivered", "redelivered", "fix"))
    return tuple(found)
