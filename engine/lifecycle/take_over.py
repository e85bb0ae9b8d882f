"""take_over: a node adopts the task of a node that ended. self_take_over: it retakes its own, which has no thread."""

from __future__ import annotations

from engine import failpoints
from engine.lifecycle import crashes, locks
from engine.lifecycle.installation import Installation
from engine.lifecycle.task_events import add_repair
from engine.model.records import Caller, Token
from engine.model.states import TaskState
from engine.store import attempts, nodes, tasks


def take_over(installation: Installation, caller: Caller, token: Token, why: str) -> Token | None:
    """Adopt a task whose node is LAPSED or LEFT, and of which a container or volume is on the caller's daemon.

    Needs neither a free slot nor the task's queue. `why` names the container or volume, for the event. Return the
    new token; None when another node was faster, the task's node beats, the calling node is fenced, or this was
    one crash too many (the task is FAILED then).
    """
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, token.task_id)
        if locked is None or locked.task.token != token or locked.task.node is None:
            return None
        former = nodes.share(c, locked.task.node)
        own = nodes.share(c, caller.node_id)
        # Before the crashes are counted: a fenced node decides nothing any more.
        if former is None or own is None or not own.state.may_adopt:
            return None
        count = crashes.count(c, installation, caller, locked, former.state)
        if count is None or not tasks.take_over(c, token, caller.node_id, count):
            return None
        attempts.move(c, token, caller.node_id)
        failpoints.hit("take_over.rows")
        reason = f"adopted from node {former.id[:8]} ({former.state}): {why}"
        return add_repair(c, caller, token.task_id, TaskState.RUNNING, reason, caller.node_id).token


def self_take_over(installation: Installation, caller: Caller, token: Token, why: str) -> Token | None:
    """Start a new delivery of a task that the calling node owns but no thread runs; counts no crash."""
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        nodes.share(c, caller.node_id)
        if task is None or not tasks.self_take_over(c, token, caller.node_id):
            return None
        failpoints.hit("self_take_over.rows")
        return add_repair(
            c, caller, token.task_id, TaskState.RUNNING, f"retaken: {why}", caller.node_id
        ).token
