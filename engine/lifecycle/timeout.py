"""timeout: the end of an attempt whose time is over while its node is gone.

On a node that beats, the link's own thread kills the container, and finish_link follows.
"""

from __future__ import annotations

from engine import failpoints
from engine.dispatch import wakeup
from engine.jobspec import stored
from engine.lifecycle import end_task, locks
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Token
from engine.store import nodes, tasks


def timeout(installation: Installation, caller: Caller, token: Token) -> bool:
    """End an attempt that is past its time limit, with its retry or as FAILED, when its node is LAPSED or LEFT.

    Refused, as `restart`, until each JOINING or LIVE node whose Docker answers has looked since that lapse: a node
    that finds the container takes the task over and ends it, so that no retry begins beside the container.
    """
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, token.task_id)
        if locked is None or locked.task.token != token or locked.task.node is None:
            return False
        former = nodes.share(c, locked.task.node)
        if former is None or former.lapse_no is None:
            return False
        if not tasks.may_time_out(c, token, former.lapse_no):
            return False
        limit = stored.load(locked.task.spec).timeout
        decision = end_task.fail(c, caller, locked, f"timed out after {limit}, while its node was away", None)
        if decision is None:
            return False
        failpoints.hit("timeout.rows")
    failpoints.hit("timeout.committed")
    if decision.again:
        wakeup.wake(token.task_id, delay_seconds=decision.delay_ms / 1000)
    return True
