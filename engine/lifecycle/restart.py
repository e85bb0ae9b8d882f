"""restart: the chain starts again elsewhere. give_back: its volume is gone, or its worker left before it began."""

from __future__ import annotations

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle import crashes, locks, repair_event
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Token
from engine.model.states import TaskState
from engine.store import nodes, tasks


def restart(installation: Installation, caller: Caller, token: Token, lapse_no: int) -> bool:
    """Start the chain of a lapsed or left node's task again, with a new origin, on whoever claims it.

    Refused while a JOINING or LIVE node whose Docker answers has not looked since that lapse: it may still find
    the container. The grace is the caller's to wait. Returns True when the row changed (a poison pill FAILED
    counts).
    """
    with installation.db.begin() as c:
        task = locks.job_and_task(c, token.task_id)
        if task is None or task.token != token or task.node is None:
            return False
        former = nodes.share(c, task.node)
        if former is None or not tasks.may_restart(c, token, lapse_no):
            return False
        count = crashes.count(c, installation, caller, task, former.state)
        if count is None:
            return True
        if not tasks.restart(c, token, lapse_no, count):
            return False
        reason = f"starts again: node {former.id[:8]} {former.state} and no node found its containers"
        repair_event.tell(c, caller, token.task_id, TaskState.PENDING, reason)
        failpoints.hit("restart.rows")
    failpoints.hit("restart.committed")
    wakeup.wake(token.task_id)
    return True


def give_back(installation: Installation, caller: Caller, token: Token, why: str) -> bool:
    """Start the chain again with a new origin: what its ended links left is gone, or nothing had begun.

    No crash, no retry spent.
    """
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        if task is None or not tasks.give_back(c, token):
            return False
        repair_event.tell(c, caller, token.task_id, TaskState.PENDING, f"given back: {why}", task.node)
        failpoints.hit("give_back.rows")
    failpoints.hit("give_back.committed")
    wakeup.wake(token.task_id)
    return True
