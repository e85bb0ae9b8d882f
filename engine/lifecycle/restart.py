"""restart: the chain of a lost task starts again elsewhere. give_back: its own node lets the chain start again."""

from __future__ import annotations

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle import crashes, locks
from engine.lifecycle.installation import Installation
from engine.lifecycle.task_events import add_repair
from engine.model.records import Caller, Token
from engine.model.states import TaskState
from engine.store import nodes, tasks


def restart(installation: Installation, caller: Caller, token: Token, lapse_no: int) -> bool:
    """Start the chain of a lapsed or left node's task again, with a new origin, on any node that claims it.

    Refused while a JOINING or LIVE node whose Docker answers has not looked since that lapse: that node may still
    find the container. The caller waits for the grace. Return True when the row changed, also to FAILED after too
    many crashes.
    """
    with installation.db.begin() as c:
        task = locks.lock_job_and_task(c, token.task_id)
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
        reason = f"started again: node {former.id[:8]} is {former.state}, and no node found its containers"
        add_repair(c, caller, token.task_id, TaskState.PENDING, reason)
        failpoints.hit("restart.rows")
    failpoints.hit("restart.committed")
    wakeup.wake(token.task_id)
    return True


def give_back(installation: Installation, caller: Caller, token: Token, why: str) -> bool:
    """Start the chain again with a new origin: the volume of its ended links is gone, or no link has begun.

    Counts no crash and uses up no retry.
    """
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        if task is None or not tasks.give_back(c, token):
            return False
        add_repair(c, caller, token.task_id, TaskState.PENDING, f"given back: {why}", task.node)
        failpoints.hit("give_back.rows")
    failpoints.hit("give_back.committed")
    wakeup.wake(token.task_id)
    return True
