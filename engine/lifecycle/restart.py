"""restart: the chain of a lost task starts again elsewhere. give_back: its own node lets the chain start again."""

from __future__ import annotations

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle import crashes, end_task, locks
from engine.lifecycle.installation import Installation
from engine.lifecycle.task_events import add_repair
from engine.model import retry
from engine.model.records import Caller, Refusal, Token
from engine.model.states import TaskState
from engine.store import attempts, nodes, tasks
from engine.wording.text import foreign_words


def restart(installation: Installation, caller: Caller, token: Token, lapse_no: int) -> bool:
    """Start the chain of a lapsed or left node's task again, with a new origin, on any node that claims it.

    Refused while a JOINING or LIVE node whose Docker answers has not looked since that lapse: that node may still
    find the container. The caller waits for the grace. Return True when the row changed, also to FAILED after too
    many crashes.
    """
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, token.task_id)
        if locked is None or locked.task.token != token or locked.task.node is None:
            return False
        former = nodes.share(c, locked.task.node)
        if former is None or not tasks.may_restart(c, token, lapse_no):
            return False
        count = crashes.count(c, installation, caller, locked, former.state)
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


def give_back(
    installation: Installation, caller: Caller, token: Token, why: str, *, refused_link: int | None = None
) -> bool:
    """Start the chain again with a new origin: the volume of its ended links is gone, or no link has begun.

    Counts no crash and uses up no retry. With `refused_link`, the node's machine could not begin this link, and `why`
    says it in the daemon's words: the refusal is counted, the task is due after a growing delay, and the attempt's
    time starts again. Too many refusals FAIL the task. Return True when the row changed.
    """
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, token.task_id)
        if locked is None or not tasks.may_give_back(c, token):
            return False
        task = locked.task
        decision = retry.RetryDecision(True, 0, why)
        refusals = task.refusals
        if refused_link is not None:
            node = nodes.get(c, task.node or "")
            name = node.name if node is not None else str(task.node)
            refusals = (*refusals, Refusal(tasks.now(c), name, refused_link, foreign_words(why)))
            decision = retry.after_refusal(refusals)
        if not decision.again:
            return end_task.fail(c, caller, locked, decision.reason, None, again=False) is not None
        if not tasks.give_back(c, token, refusals, decision.delay_ms):
            return False
        if refused_link is not None:
            attempts.forget(c, token)
        add_repair(c, caller, token.task_id, TaskState.PENDING, f"given back: {decision.reason}", task.node)
        failpoints.hit("give_back.rows")
    failpoints.hit("give_back.committed")
    wakeup.wake(token.task_id, delay_seconds=decision.delay_ms / 1000)
    return True
