"""End of an attempt, whichever verb ends it: its retry or the task's end, and the job's end.

The job's and the task's rows are locked by the verb.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.jobspec import stored
from engine.lifecycle.locks import Locked
from engine.lifecycle.propagate import propagate
from engine.lifecycle.task_events import add_link_change
from engine.model import retry
from engine.model.records import Caller, Link, Task
from engine.model.states import LinkState, TaskState
from engine.model.tree import End
from engine.store import attempts, events, links, tasks
from engine.store.database import Connection


def complete(c: Connection, caller: Caller, locked: Locked, result: str | None) -> None:
    """End the attempt and the task as COMPLETED, unless the token no longer counts."""
    course, task = locked
    if tasks.end(c, task.token, TaskState.COMPLETED, exit_code=0, result=result, error=None):
        attempts.end(c, task.token, TaskState.COMPLETED, 0, None)
        _add_event(c, caller, task, TaskState.COMPLETED)
        propagate(c, caller, course, End(TaskState.COMPLETED), result)


def fail(
    c: Connection, caller: Caller, locked: Locked, error: str, exit_code: int | None, *, again: bool = True
) -> retry.RetryDecision | None:
    """End the attempt as FAILED; the task is PENDING by its retry policy (when `again`), or FAILED.

    Return the decision, or None when the token no longer counts.
    """
    course, task = locked
    decision = retry.RetryDecision(False, 0, error)
    if again:
        decision = retry.decide(stored.load(task.spec).retry, task.attempt, random.random())
    if decision.again:
        if not tasks.retry(c, task.token, decision.delay_ms):
            return None
    elif not tasks.end(c, task.token, TaskState.FAILED, exit_code=exit_code, error=error):
        return None
    _close_links(c, caller, task, error)
    attempts.end(c, task.token, TaskState.FAILED, exit_code, error)
    if decision.again:
        _add_event(c, caller, task, TaskState.PENDING, f"{error}; {decision.reason}")
    else:
        _add_event(c, caller, task, TaskState.FAILED, error)
        propagate(c, caller, course, End(TaskState.FAILED, error))
    return decision


def cancel(c: Connection, caller: Caller, locked: Locked) -> None:
    """End a task that has not ended as CANCELLED."""
    course, task = locked
    tasks.cancel(c, task.id)
    if task.origin:
        # A run of this attempt began; it may be lost since, and the task PENDING again.
        attempts.end(c, task.token, TaskState.CANCELLED, None, None)
        _close_links(c, caller, task, "cancelled")
    _add_event(c, caller, task, TaskState.CANCELLED, "cancelled")
    propagate(c, caller, course, End(TaskState.CANCELLED))


def skip(c: Connection, caller: Caller, task: Task, waiting: Sequence[Link]) -> None:
    """Move these WAITING links of the task's present run to SKIPPED: they will not run."""
    links.skip(c, task.run, [link.index for link in waiting])
    for link in waiting:
        add_link_change(c, caller, task, link, LinkState.SKIPPED, "not run")


def _close_links(c: Connection, caller: Caller, task: Task, reason: str) -> None:
    """Close the present run: WAITING links become SKIPPED, CONFIRMED ones ENDED with `reason`."""
    run = links.of_run(c, task.run)
    skip(c, caller, task, [link for link in run if link.state is LinkState.WAITING])
    for link in run:
        if link.state is LinkState.CONFIRMED:
            links.abandon(c, task.run, link.index, reason)
            add_link_change(c, caller, task, link, LinkState.ENDED, reason)


def _add_event(c: Connection, caller: Caller, task: Task, to: TaskState, reason: str | None = None) -> None:
    events.add(c, caller, "task", task, from_state=task.state, to_state=to, node=task.node, reason=reason)
