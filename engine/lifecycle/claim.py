"""claim: a node takes a task. begin_link: it goes on with a later link of what it has."""

from __future__ import annotations

from engine import failpoints
from engine.jobspec import stored
from engine.jobspec.task import TaskSpec
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
    """Take the delivery for this node, if it is still there to be taken.

    One compare-and-set on (task, attempt, delivery): from PENDING or SCHEDULED, since a message can be faster
    than the mark that it was sent. It sets RUNNING, the node and the origin, from which every container's name
    follows, and writes the links and the sandbox of their network, one of the `offer` or none, before any
    container exists.

    Returns the first link to carry out, or None when another node has it, it was cancelled, the message is an
    old one, or this node is not LIVE. Raises StoreUnavailable when the database does not answer in time.
    """
    with installation.db.begin() as c:
        before = locks.job_and_task(c, token.task_id)
        node = nodes.share(c, caller.node_id)
        if before is None or node is None or node.state is not NodeState.LIVE:
            return None
        task = tasks.claim(c, token, caller.node_id)
        if task is None:
            return None
        spec = stored.load(task.spec)
        run, sandbox = _links(task, spec), offer.choose(spec)
        links.insert(c, run)
        age = attempts.begin(c, token, caller.node_id, sandbox)
        if jobs.start(c, task.job_id):
            events.add(
                c, caller, "job", job_id=task.job_id, from_state=JobState.PENDING, to_state=JobState.RUNNING
            )
        events.add(
            c,
            caller,
            "task",
            task,
            from_state=before.state,
            to_state=TaskState.RUNNING,
            node=caller.node_id,
            reason="claimed",
        )
        failpoints.hit("claim.rows")
    failpoints.hit("claim.committed")
    return assign(installation, task, run, 0, AttemptStatus(age, sandbox, task.held_since or 0))


def begin_link(installation: Installation, caller: Caller, token: Token, index: int) -> Assignment | None:
    """Go on with link `index` of a task that this node has under this very token.

    Returns None when it does not speak for the task any more, when a link before it is open or ended badly
    (unless it is an `always` post), or when it ended already: the message is an old or a doubled one.
    """
    with installation.db.read() as c:
        if not tasks.begins(c, token, caller.node_id):
            return None
        task = tasks.get(c, token.task_id)
        if task is None or task.token != token:
            return None
        run = links.of_run(c, task.run)
        mine = next((link for link in run if link.index == index), None)
        # A CONFIRMED link has its thread, or will be taken over: a doubled message starts nothing.
        if mine is None or mine.state is not LinkState.WAITING or not chain.may_begin(run, index):
            return None
        return assign(installation, task, run, index, attempts.status(c, token))


def resume(installation: Installation, caller: Caller, token: Token) -> Assignment | None:
    """The link where a taken-over task goes on: the first that has not ended."""
    with installation.db.read() as c:
        task = tasks.get(c, token.task_id)
        if (
            task is None
            or task.token != token
            or task.node != caller.node_id
            or task.state is not TaskState.RUNNING
        ):
            return None
        run = links.of_run(c, task.run)
        index = chain.first_open(run)
        if index is None:
            return None
        return assign(installation, task, run, index, attempts.status(c, token))


def _links(task: Task, spec: TaskSpec) -> list[Link]:
    return [
        Link(
            task_id=task.id,
            attempt=task.attempt,
            origin=task.origin,
            index=index,
            kind=kind,
            name=wanted.name or kind,
            image=wanted.image,
            always=wanted.always,
            state=LinkState.WAITING,
            container_id=None,
            confirmed_by=None,
            exit_code=None,
            error=None,
            started_at=None,
            ended_at=None,
        )
        for index, (kind, wanted) in enumerate(spec.links)
    ]
