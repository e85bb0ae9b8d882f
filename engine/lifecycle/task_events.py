"""Events that several verbs write in the same form: repairs of a task, and changes of its links."""

from __future__ import annotations

from engine.model.records import Caller, Link, Task
from engine.model.states import LinkState, TaskState
from engine.store import events, tasks
from engine.store.database import Connection
from engine.wording.links import link_title


def add_repair(
    c: Connection, caller: Caller, task_id: str, to: TaskState, reason: str, node: str | None = None
) -> Task:
    """Write that a RUNNING task was repaired to `to`; return the task as it is after the change."""
    task = tasks.get(c, task_id)
    assert task is not None, "the verb has locked the row"
    events.add(c, caller, "repair", task, from_state=TaskState.RUNNING, to_state=to, node=node, reason=reason)
    return task


def add_link_change(
    c: Connection, caller: Caller, task: Task, link: Link, to: LinkState, reason: str
) -> None:
    """Write that a link of the task's present run left its state `link.state` for `to`."""
    reason = f"{link_title(link.kind, link.name, link.index)}: {reason}"
    events.add(c, caller, "link", task, from_state=link.state, to_state=to, node=task.node, reason=reason)
