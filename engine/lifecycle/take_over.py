"""take_over: another node's running work becomes mine. self_take_over: my own, whose thread is gone."""

from __future__ import annotations

from engine import failpoints
from engine.lifecycle import end_task, locks, repair_event
from engine.lifecycle.installation import Installation
from engine.model import retry
from engine.model.records import Task, Token
from engine.model.states import NodeState, TaskState
from engine.store import attempts, nodes, tasks
from engine.store.database import Connection


def take_over(installation: Installation, token: Token, node_id: str, found: str) -> Token | None:
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
        mine = nodes.share(c, node_id)
        # Asked before a poison pill is given up: a fenced node decides nothing any more.
        if former is None or mine is None or not mine.state.may_adopt:
            return None
        crashes = count_crashes(c, installation, task, former.state)
        if poisoned(c, installation, task, former.state, crashes):
            return None
        if not tasks.take_over(c, token, node_id, crashes):
            return None
        attempts.move(c, token, node_id)
        failpoints.hit("take_over.rows")
        reason = f"adopted from node {former.id[:8]} ({former.state}): {found}"
        return repair_event.tell(c, token.task_id, TaskState.RUNNING, reason, node_id).token


def self_take_over(installation: Installation, token: Token, node_id: str, why: str) -> Token | None:
    """A new delivery of what names this node already but has no thread here. No crash is counted."""
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        nodes.share(c, node_id)
        if task is None or not tasks.self_take_over(c, token, node_id):
            return None
        failpoints.hit("self_take_over.rows")
        return repair_event.tell(c, token.task_id, TaskState.RUNNING, f"taken up again: {why}", node_id).token


def count_crashes(c: Connection, installation: Installation, task: Task, former: NodeState) -> int:
    """The count after this hand-over (protocol 2a)."""
    held = tasks.now(c) - (task.held_since or 0)
    return retry.crashes_after(
        task.crashes, former, held, round(installation.settings.cluster.calm_seconds * 1000)
    )


def poisoned(c: Connection, installation: Installation, task: Task, former: NodeState, crashes: int) -> bool:
    """FAIL a task that killed its workers `max_crashes` times in quick succession; True when it did."""
    if former is not NodeState.LAPSED or crashes < installation.settings.cluster.max_crashes:
        return False
    error = f"its worker died {crashes} times in quick succession: given up (FERRYMAN_MAX_CRASHES)"
    return end_task.fail(c, task, error, None, again=False) is not None
