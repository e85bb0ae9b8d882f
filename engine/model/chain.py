"""What follows when a link or a task ended. Pure: rows in, decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.model.records import Link, Task
from engine.model.states import JobState, LinkState, TaskState


@dataclass(frozen=True)
class AfterLink:
    """What follows in the chain: another link, or the attempt's end."""

    #: Index of the link that runs next, None: the attempt has ended.
    next_index: int | None
    #: Links that will not run.
    skipped: tuple[int, ...]
    #: True when the attempt ended, or will end, badly.
    failed: bool
    #: The first link that ended badly, whose words are the attempt's.
    culprit: Link | None


def after_link(links: Sequence[Link]) -> AfterLink:
    """Decide on the links of one run, of which at least one has just ENDED.

    As long as all ended well, the next in order runs. After a failure only the `always` posts do; the links
    between are skipped (Tork skips all that follow; `always` is ours).
    """
    culprit = next((link for link in links if link.state is LinkState.ENDED and link.exit_code != 0), None)
    waiting = [link for link in links if link.state not in (LinkState.ENDED, LinkState.SKIPPED)]
    if culprit is None:
        return AfterLink(waiting[0].index if waiting else None, (), False, None)
    still = [link for link in waiting if link.kind == "post" and link.always]
    skipped = tuple(link.index for link in waiting if link not in still)
    return AfterLink(still[0].index if still else None, skipped, True, culprit)


def may_begin(links: Sequence[Link], index: int) -> bool:
    """begin_link's guard: each link before it ended well, or it is an `always` post and none before it is open."""
    before = [link for link in links if link.index < index]
    mine = next((link for link in links if link.index == index), None)
    if mine is None or mine.state not in (LinkState.WAITING, LinkState.CONFIRMED):
        return False
    if all(link.state is LinkState.ENDED and link.exit_code == 0 for link in before):
        return True
    closed = all(link.state in (LinkState.ENDED, LinkState.SKIPPED) for link in before)
    return closed and mine.kind == "post" and mine.always


def first_open(links: Sequence[Link]) -> int | None:
    """The link that runs now or next, None when all are done: where an adopter goes on."""
    return next(
        (link.index for link in links if link.state in (LinkState.WAITING, LinkState.CONFIRMED)), None
    )


@dataclass(frozen=True)
class AfterTask:
    """What becomes of the job: a state, with the result or error that it takes over."""

    state: JobState
    result: str | None = None
    error: str | None = None


def after_task(tasks: Sequence[Task]) -> AfterTask:
    """Decide the job's state: FAILED by its first FAILED task; CANCELLED or COMPLETED when all tasks have ended."""
    for task in tasks:
        if task.state is TaskState.FAILED:
            return AfterTask(JobState.FAILED, error=task.error)
    if not all(task.state.ended for task in tasks):
        return AfterTask(JobState.RUNNING)
    if any(task.state is TaskState.CANCELLED for task in tasks):
        return AfterTask(JobState.CANCELLED)
    return AfterTask(JobState.COMPLETED, result=tasks[-1].result if tasks else None)
