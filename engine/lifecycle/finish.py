"""finish_link: the end of a link, and in the same transaction everything that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle import end_task, locks
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.lifecycle.locks import Locked
from engine.lifecycle.task_events import add_link_change
from engine.model import chain
from engine.model.records import Caller, Link, Task, Token
from engine.model.states import LinkState, TaskState
from engine.runtime.base import Cause, Outcome
from engine.store import events, links, tasks
from engine.store.database import Connection
from engine.wording.links import link_title


@dataclass(frozen=True)
class FollowUp:
    """Follow-up of a recorded end: another link, or the end of the attempt (its containers may be removed)."""

    #: The link that runs next, on this node; None: the attempt has ended.
    next_index: int | None
    #: Celery's chain may continue: this link ended well, and the next in order follows.
    chain_goes_on: bool
    #: This link ended well.
    ok: bool
    #: The token of the record: not the one of the claim when the link ran again without a sandbox.
    token: Token
    #: Seconds until the next attempt is due; None: there is no next attempt.
    retry_seconds: float | None = None


def finish_link(
    installation: Installation,
    caller: Caller,
    assignment: Assignment,
    container_id: str | None,
    outcome: Outcome,
) -> FollowUp | None:
    """Record how the link's container ended, if this token and this container still count.

    `container_id` is None when no container could be made (the image, the command or a mount was refused). The
    state of the node is not asked: a node that lapsed but was not replaced may finish. The last or failed link
    ends the attempt: COMPLETED, FAILED or the retry, and the job with it, all in this transaction.

    Return None when the end was refused: another delivery writes the end. An event says "late", and the thread
    touches no container. Of a task that was cancelled under this token, the exit code of the container is noted.
    """
    token, order = assignment.token, assignment.order
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, token.task_id)
        if locked is None:
            return None
        task = locked.task
        counts = task.token == token and task.state is TaskState.RUNNING
        at = (token, order.run.origin, order.index)
        run = links.of_run(c, order.run)
        code, message = outcome.exit_code, outcome.message
        if not counts or not links.end(c, at, container_id, code, message, outcome.timings):
            if task.state is TaskState.CANCELLED:
                _record_exit(c, caller, task, assignment, container_id, outcome)
            else:
                _add_late_event(c, caller, task, assignment, outcome)
            return None
        add_link_change(c, caller, task, run[order.index], LinkState.ENDED, message or f"exit code {code}")
        # As `links.end` has written the row, which lies under the task's lock.
        run[order.index] = replace(run[order.index], state=LinkState.ENDED, exit_code=code, error=message)
        if outcome.cause is not Cause.NOT_STARTED and any(r.link <= order.index for r in task.refusals):
            tasks.forget_refusals(c, token)
        follow_up = _follow(c, caller, locked, run, order.kind, outcome)
        failpoints.hit("finish.rows")
    failpoints.hit("finish.committed")
    if follow_up.retry_seconds is not None:
        wakeup.wake(token.task_id, delay_seconds=follow_up.retry_seconds)
    return follow_up


def _follow(
    c: Connection, caller: Caller, locked: Locked, run: Sequence[Link], kind: str, outcome: Outcome
) -> FollowUp:
    task = locked.task
    after = chain.after_link(run)
    end_task.skip(c, caller, task, [link for link in run if link.index in after.skipped])
    if after.next_index is not None:
        if kind == "main" and outcome.ok and outcome.result is not None:
            # Kept at once: the worker may die before the posts have ended.
            tasks.keep_result(c, task.token, outcome.result)
        return FollowUp(after.next_index, chain_goes_on=not after.failed, ok=outcome.ok, token=task.token)
    if after.culprit is None:
        end_task.complete(c, caller, locked, outcome.result if kind == "main" else task.result)
        return FollowUp(None, chain_goes_on=False, ok=True, token=task.token)
    culprit = after.culprit
    error = culprit.error or f"exit code {culprit.exit_code}"
    error = f"{link_title(culprit.kind, culprit.name, culprit.index)}: {error}"
    decision = end_task.fail(c, caller, locked, error, culprit.exit_code)
    delay = decision.delay_ms / 1000 if decision is not None and decision.again else None
    return FollowUp(None, chain_goes_on=False, ok=outcome.ok, token=task.token, retry_seconds=delay)


def _add_late_event(
    c: Connection, caller: Caller, task: Task, assignment: Assignment, outcome: Outcome
) -> None:
    """Write that an end came too late and was not applied."""
    token = assignment.token
    reason = (
        f"end of {assignment.link_name} (exit code {outcome.exit_code}) under attempt {token.attempt}, "
        f"delivery {token.delivery} came too late and was not applied"
    )
    events.add(c, caller, "late", task, reason=reason)


def _record_exit(
    c: Connection,
    caller: Caller,
    task: Task,
    assignment: Assignment,
    container_id: str | None,
    outcome: Outcome,
) -> None:
    """Note how the container of a cancelled task ended, if it was the one of this token."""
    token, order = assignment.token, assignment.order
    at = (token, order.run.origin, order.index)
    if task.token != token or container_id is None:
        return
    if links.record_exit(c, at, container_id, outcome.exit_code, outcome.timings):
        reason = f"{assignment.link_name}: ended after the cancel with exit code {outcome.exit_code}"
        events.add(c, caller, "note", task, reason=reason)
