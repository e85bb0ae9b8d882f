"""How an attempt ends, whoever ends it: the retry or the task's end, and what becomes of the job."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.jobspec import stored
from engine.model import chain, retry
from engine.model.records import Caller, Link, Task
from engine.model.states import JobState, LinkState, TaskState
from engine.store import attempts, events, jobs, links, tasks
from engine.store.database import Connection
from engine.wording.links import link_title


def complete(c: Connection, caller: Caller, task: Task, result: str | None) -> bool:
    """The last link ended well. The job's and the task's rows are locked by the caller."""
    token = task.token
    if not tasks.end(c, token, TaskState.COMPLETED, exit_code=0, result=result, error=None):
        return False
    attempts.end(c, token, TaskState.COMPLETED, 0, None)
    events.add(
        c, caller, "task", task, from_state=TaskState.RUNNING, to_state=TaskState.COMPLETED, node=task.node
    )
    _advance(c, caller, task.job_id)
    return True


def fail(
    c: Connection, caller: Caller, task: Task, error: str, exit_code: int | None, *, again: bool = True
) -> retry.RetryDecision | None:
    """The attempt ended badly: the next one by the task's retry policy (when `again`), or FAILED.

    Returns what was decided, None when the token no longer counts.
    """
    token = task.token
    policy = stored.load(task.spec).retry
    decision = retry.decide(policy, task.attempt, random.random())
    if not again:
        decision = retry.RetryDecision(False, 0, error)
    if decision.again:
        if not tasks.retry(c, token, decision.delay_ms):
            return None
        to, reason = TaskState.PENDING, f"{error}; {decision.reason}"
    else:
        if not tasks.end(c, token, TaskState.FAILED, exit_code=exit_code, error=error):
            return None
        to, reason = TaskState.FAILED, error
    close(c, caller, task, error)
    attempts.end(c, token, TaskState.FAILED, exit_code, error)
    events.add(
        c, caller, "task", task, from_state=TaskState.RUNNING, to_state=to, node=task.node, reason=reason
    )
    if to is TaskState.FAILED:
        _advance(c, caller, task.job_id)
    return decision


def close(c: Connection, caller: Caller, task: Task, why: str) -> None:
    """The task's present run is over: what waits is skipped, and what nobody will finish any more has ENDED so."""
    run = links.of_run(c, task.run)
    skip(c, caller, task, [link for link in run if link.state is LinkState.WAITING])
    for link in run:
        if link.state is LinkState.CONFIRMED:
            links.abandon(c, task.token, task.origin, link.index, why)
            events.add(
                c,
                caller,
                "link",
                task,
                from_state=LinkState.CONFIRMED,
                to_state=LinkState.ENDED,
                node=task.node,
                reason=f"{link_title(link.kind, link.name, link.index)}: {why}",
            )


def skip(c: Connection, caller: Caller, task: Task, waiting: Sequence[Link]) -> None:
    """WAITING -> SKIPPED for these links of the task's present run: they will not run any more."""
    links.skip(c, task.token, task.origin, [link.index for link in waiting])
    for link in waiting:
        events.add(
            c,
            caller,
            "link",
            task,
            from_state=LinkState.WAITING,
            to_state=LinkState.SKIPPED,
            node=task.node,
            reason=f"{link_title(link.kind, link.name, link.index)}: not run",
        )


def _advance(c: Connection, caller: Caller, job_id: str) -> None:
    after = chain.after_task(tasks.of_job(c, job_id))
    if after.state is not JobState.RUNNING and jobs.end(c, job_id, after.state, after.result, after.error):
        events.add(
            c,
            caller,
            "job",
            job_id=job_id,
            from_state=JobState.RUNNING,
            to_state=after.state,
            reason=after.error,
        )
