"""How a repair is told: one event, under the token that it made."""

from __future__ import annotations

from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.store import events, tasks
from engine.store.database import Connection


def tell(
    c: Connection, caller: Caller, task_id: str, to: TaskState, reason: str, node: str | None = None
) -> Task:
    """Write that a RUNNING task was repaired to `to`, as it stands after the change; returns it so."""
    after = tasks.get(c, task_id)
    assert after is not None, "its row is locked by the verb"
    events.add(
        c, caller, "repair", after, from_state=TaskState.RUNNING, to_state=to, node=node, reason=reason
    )
    return after
