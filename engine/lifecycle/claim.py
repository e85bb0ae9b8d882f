"""claim: a node takes a task. begin_link, resume: it continues with a later link of a task that it has."""

from __future__ import annotations

from engine import failpoints
from engine.jobspec import stored
from engine.lifecycle import locks
from engine.lifecycle.assignment import Assignment, assign
from engine.lifecycle.installation import Installation
from engine.lifecycle.sandbox import NO_OFFER, SandboxOffer
from engine.model import chain
from engine.model.records import AttemptStatus, Caller, Link, Task, Token
from engine.model.states import JobState, LinkState, NodeState, TaskState
from engine.store import attempts, events, jobs, links, nodes, tasks


def claim(
    installation: Installation, caller: Caller, token: Token, offer: SandboxOffer = NO_OFFER
) -> Assignment | None:
    """Take the delivery for the calling node, and return its first link.

    One compare-and-set on (task, attempt, delivery): from PENDING or SCHEDULED, because a message can arrive
    before its row is marked as sent. The claim sets RUNNING, the node and the origin, from which the names of all
    containers follow, and writes the links and their sandbox, before any container exists.

    Return None when another node has the task, the task was cancelled, the message is old, or the calling node
    is not LIVE. Raises StoreUnavailable.
    """
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, token.task_id)
        node = nodes.share(c, caller.node_id)
        if locked is None or node is None or node.state is not NodeState.LIVE:
            return None
        task = tasks.claim(c, token, caller.node_id)
        if task is None:
            return None
        spec = stored.load(task.spec)
        run, sandbox = _links(task), offer.choose(spec)
        links.insert(c, run)
        age_ms = attempts.begin(c, token, caller.node_id, sandbox)
        if locked.course.state is JobState.PENDING and jobs.start(c, task.job_id):
            was, to = JobState.PENDING, JobState.RUNNING
            events.add(c, caller, "job", job_id=task.job_id, from_state=was, to_state=to)
        states = {"from_state": locked.task.state, "to_state": task.state}
        events.add(c, caller, "task", task, **states, node=task.node, reason="claimed")
        failpoints.hit("claim.rows")
    failpoints.hit("claim.committed")
    return assign(installation, task, run, 0, AttemptStatus(age_ms, sandbox, task.held_since or 0))


def begin_link(installation: Installation, caller: Caller, token: Token, index: int) -> Assignment | None:
    """Return link `index` of a task that the calling node has under this token.

    Return None when the message is old or doubled: the token or the node no longer counts, the link has begun or
    ended, or a link before it is open or failed (except for an `always` post).
    """
    with installation.db.read() as c:
        if not tasks.may_begin_link(c, token, caller.node_id):
            return None
        task = tasks.get(c, token.task_id)
        if task is None or task.token != token:
            return None
        run = links.of_run(c, task.run)
        own = next((link for link in run if link.index == index), None)
        # A CONFIRMED link has a thread, or will be adopted: a doubled message starts nothing.
        if own is None or own.state is not LinkState.WAITING or not chain.may_begin(run, index):
            return None
        return assign(installation, task, run, index, attempts.status(c, token))


def resume(installation: Installation, caller: Caller, token: Token) -> Assignment | None:
    """Return the first link that has not ended, of a task that the calling node took over under this token."""
    with installation.db.read() as c:
        task = tasks.get(c, token.task_id)
        if task is None or task.token != token or task.state is not TaskState.RUNNING:
            return None
        if task.node != caller.node_id:
            return None
        run = links.of_run(c, task.run)
        index = chain.first_open(run)
        if index is None:
            return None
        return assign(installation, task, run, index, attempts.status(c, token))


def _links(task: Task) -> list[Link]:
    return [
        Link(
            task_id=task.id,
            attempt=task.attempt,
            origin=task.origin,
            index=index,
            **link._asdict(),
            state=LinkState.WAITING,
            container_id=None,
            confirmed_by=None,
            exit_code=None,
            error=None,
            started_at=None,
            ended_at=None,
        )
        for index, link in enumerate(task.plan)
    ]
