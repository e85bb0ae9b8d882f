"""finish_link: the end of a link, and in the same transaction all that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle import end_task, locks
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model import chain
from engine.model.records import Caller, Link, Task, Token
from engine.model.states import LinkState, TaskState
from engine.runtime.base import Outcome
from engine.store import events, links, tasks
from engine.store.database import Connection
from engine.wording.links import link_title


@dataclass(frozen=True)
class Finished:
    """What a recorded end leads to: another link, or the attempt's end (then its containers may go)."""

    #: The link that runs next, on this node; None: the attempt ended.
    next_index: int | None
    #: The chain may go on by itself: this link ended well and the next in order follows.
    chain_goes_on: bool
    #: This link ended well.
    ok: bool
    #: Under which it was recorded: not the caller's when the sandbox was gone on the way (engine.lifecycle.sandbox).
    token: Token
    #: Seconds until the next attempt is due, None: there is none.
    retry_seconds: float | None = None


def finish_link(
    installation: Installation,
    caller: Caller,
    assignment: Assignment,
    container_id: str | None,
    outcome: Outcome,
) -> Finished | None:
    """Record how the link's container ended, if this token and this container still speak for the link.

    `container_id` is None when no container could be made (the image, the command or a mount refused). The node
    is not asked: one that lapsed but was not replaced may finish. The last or failed link ends the attempt:
    COMPLETED, FAILED or the retry, and the job with it, all in this transaction.

    Returns None when it was refused: the end is another's to write; an event says "late", and the caller
    touches no container.
    """
    token, order = assignment.token, assignment.order
    with installation.db.begin() as c:
        task = locks.job_and_task(c, token.task_id)
        if task is None:
            return None
        mine = task.token == token and task.state is TaskState.RUNNING
        at = (token, order.run.origin, order.index)
        run = links.of_run(c, order.run)
        if not mine or not links.end(
            c, at, container_id, outcome.exit_code, outcome.message, outcome.timings
        ):
            _refused(c, caller, task, assignment, outcome)
            return None
        _say_ended(c, caller, task, run[order.index].state, (assignment, outcome))
        run[order.index] = _ended(run[order.index], outcome)
        finished = _follow(c, caller, task, run, (assignment, outcome))
        failpoints.hit("finish.rows")
    failpoints.hit("finish.committed")
    if finished.retry_seconds is not None:
        wakeup.wake(token.task_id, delay_seconds=finished.retry_seconds)
    return finished


def _ended(link: Link, outcome: Outcome) -> Link:
    """The row as `links.end` left it, without asking again: it lies under the task's lock."""
    return replace(link, state=LinkState.ENDED, exit_code=outcome.exit_code, error=outcome.message)


def _follow(
    c: Connection, caller: Caller, task: Task, run: Sequence[Link], how: tuple[Assignment, Outcome]
) -> Finished:
    (assignment, outcome), after = how, chain.after_link(run)
    order = assignment.order
    end_task.skip(c, caller, task, [link for link in run if link.index in after.skipped])
    if after.next_index is not None:
        if order.kind == "main" and outcome.ok and outcome.result is not None:
            # Kept at once: the worker may die before the posts have ended.
            tasks.keep_result(c, task.token, outcome.result)
        return Finished(after.next_index, chain_goes_on=not after.failed, ok=outcome.ok, token=task.token)
    if after.culprit is None:
        kept = outcome.result if order.kind == "main" else task.result
        end_task.complete(c, caller, task, kept)
        return Finished(None, chain_goes_on=False, ok=True, token=task.token)
    words = after.culprit.error or f"exit code {after.culprit.exit_code}"
    culprit = after.culprit
    words = f"{link_title(culprit.kind, culprit.name, culprit.index)}: {words}"
    decision = end_task.fail(c, caller, task, words, after.culprit.exit_code)
    again = decision.delay_ms / 1000 if decision is not None and decision.again else None
    return Finished(None, chain_goes_on=False, ok=outcome.ok, token=task.token, retry_seconds=again)


def _say_ended(
    c: Connection, caller: Caller, task: Task, before: LinkState, how: tuple[Assignment, Outcome]
) -> None:
    assignment, outcome = how
    words = f"{assignment.link_name}: exit {outcome.exit_code}"
    events.add(
        c,
        caller,
        "link",
        task,
        from_state=before,
        to_state=LinkState.ENDED,
        node=task.node,
        reason=f"{words}, {outcome.message}" if outcome.message else words,
    )


def _refused(c: Connection, caller: Caller, task: Task, assignment: Assignment, outcome: Outcome) -> None:
    """A late end is told, never applied."""
    if task.state is TaskState.CANCELLED:
        return
    token = assignment.token
    events.add(
        c,
        caller,
        "late",
        task,
        reason=f"late end of attempt {token.attempt}, delivery {token.delivery}, {assignment.link_name}: "
        f"exit {outcome.exit_code}, not applied",
    )
