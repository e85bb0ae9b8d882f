"""Worker crashes of a task, and the end of a task that has caused too many (a poison pill)."""

from __future__ import annotations

from engine.lifecycle import end_task
from engine.lifecycle.installation import Installation
from engine.lifecycle.locks import Locked
from engine.model import retry
from engine.model.records import Caller
from engine.model.states import NodeState
from engine.store import tasks
from engine.store.database import Connection


def count(
    c: Connection, installation: Installation, caller: Caller, locked: Locked, former: NodeState
) -> int | None:
    """Return the task's crashes, now that its node ended in the state `former`; None: the task FAILED."""
    settings, task = installation.settings.cluster, locked.task
    held_ms = tasks.now(c) - (task.held_since or 0)
    crashes = retry.crashes_after(task.crashes, former, held_ms, round(settings.calm_seconds * 1000))
    if former is NodeState.LAPSED and crashes >= settings.max_crashes:
        error = f"gave up after {crashes} worker crashes in quick succession (FERRYMAN_MAX_CRASHES)"
        if end_task.fail(c, caller, locked, error, None, again=False) is not None:
            return None
    return crashes
