"""take_over: another node's running work becomes mine. self_take_over: my own, whose thread is gone."""

from __future__ import annotations

from engine import failpoints
from engine.lifecycle import crashes, locks, repair_event
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Token
from engine.model.states import TaskState
from engine.store import attempts, nodes, tasks


def take_over(installation: Installation, caller: Caller, token: Token, found: str) -> Token | None:
    """Take a task whose node LAPSED or LEFT, since a container or volume of it was found on this daemon.

    Needs no free slot and no queue of ours. `found` says in words what was found, for the event. Returns the
    new token, or None when somebody was faster, its node lives after all, or this crash was one too many
    (then the task FAILED here).
    """
    with installation.db.begin() as c:
        task = locks.job_and_task(c, token.task_id)
        if task is None or task.token != token or task.node is None:
            return None
        former = nodes.share(c, task.node)
        mine = nodes.share(c, caller.node_id)
        # Asked before a poison pill is given up: a fenced node decides nothing any more.
        if former is None or mine is None or not mine.state.may_adopt:
            return None
        count = crashes.count(c, installation, caller, task, former.state)
        if count is None or not tasks.take_over(c, token, caller.node_id, count):
            return None
        attempts.move(c, token, caller.node_id)
        failpoints.hit("take_over.rows")
        reason = f"adopted from node {former.id[:8]} ({former.state}): {found}"
        return repair_event.tell(c, caller, token.task_id, TaskState.RUNNING, reason, caller.node_id).token


def self_take_over(installation: Installation, caller: Caller, token: Token, why: str) -> Token | None:
    """A new delivery of what names this node already but has no thread here. No crash is counted."""
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        nodes.share(c, caller.node_id)
        if task is None or not tasks.self_take_over(c, token, caller.node_id):
            return None
        failpoints.hit("self_take_over.rows")
        return repair_event.tell(
            c, caller, token.task_id, TaskState.RUNNING, f"taken up again: {why}", caller.node_id
        ).token
