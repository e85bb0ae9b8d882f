"""Badges of states: a word, a shape of sprite.svg and a tone of style.css, never a colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.records import Link, Node, Task
from engine.model.states import WAITING_TASKS, JobState, LinkState, NodeState, TaskState


@dataclass(frozen=True)
class Badge:
    """Word, shape and tone of a state, or of a mark beside it."""

    word: str
    shape: str
    #: idle, running, completed, failed, warn or repair: a class of style.css.
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
    """Return the badge of a task's or job's state; amber when it waits in a queue that no worker serves."""
    badge = STATES[state]
    waits = state in WAITING_TASKS
    return Badge(badge.word, badge.shape, "warn") if unserved and waits else badge


def of_link(link: Link, task: Task) -> Badge:
    """Return the badge of a link: the state of its container, or how that ended."""
    if link.state is LinkState.WAITING:
        return Badge("Waiting", "created") if not task.state.ended else _CANCELLED
    if link.state is LinkState.CONFIRMED:
        is_running = task.state is TaskState.RUNNING and link.run == task.run
        return _RUNNING if is_running else Badge("Stopped", "cancelled")
    if link.state is LinkState.SKIPPED:
        return _SKIPPED
    return _COMPLETED if link.exit_code == 0 else _FAILED


def of_node(node: Node) -> Badge:
    """Return the badge of a node; red when it claims nothing although it is LIVE."""
    if node.state is NodeState.LIVE and not node.runtime_ok:
        return Badge("No Docker", "warning", "failed")
    if node.holds and not node.state.is_gone:
        return Badge("Held", "warning", "failed")
    return _NODES[node.state]


def marks(task: Task) -> tuple[Badge, ...]:
    """Return the marks of retries, adoptions and restarts."""
    badges = []
    if task.attempt > 1:
        retries = f"{task.attempt - 1} retried" if task.state.ended else f"retry {task.attempt - 1}"
        badges.append(Badge(retries, "retrying", "idle" if task.state is TaskState.COMPLETED else "warn"))
    # An adoption raises the delivery and keeps the origin; a restart of the chain gets a new origin.
    if task.origin and task.delivery > task.origin:
        badges.append(Badge("adopted", "adopted", "repair"))
    if max(task.origin, 0 if task.origin else task.delivery) > 1:
        badges.append(Badge("restarted", "restarted", "repair"))
    return tuple(badges)
