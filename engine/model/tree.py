"""PURE. Decisions about a job of many tasks: what follows when one of its tasks ends, and what a step changes.

A job has three phases, each a sequence of *top tasks*: `tasks`, `onFailure` and `finally`. A task is a leaf, which runs
a chain of containers, or a *composite* (parallel, each, subjob), whose children are tasks. What a job or composite will
end as is its *verdict*. The verdict is set once; from then on nothing below it opens, and the job or composite ends
when nothing below it is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from engine.model.states import JobState, TaskState


class Phase(IntEnum):
    """Phases of a job, in their order."""

    TASKS = 0
    ON_FAILURE = 1
    FINALLY = 2


class Todo(StrEnum):
    """Steps that a composite or a job is due for; the opening of a CREATED task needs no mark."""

    #: A composite may open more children.
    EXPAND = "expand"
    #: A composite has a verdict, and open children to cancel.
    CLOSE = "close"
    #: All of `tasks` has ended well, and the job's output is to be evaluated.
    CONCLUDE = "conclude"
    #: A subjob has ended, and the task of its parent job does not know.
    SETTLE = "settle"


_BAD = (TaskState.FAILED, TaskState.CANCELLED)


@dataclass(frozen=True)
class End:
    """End of a task, as its parent sees it."""

    state: TaskState
    #: In words, for a FAILED task.
    error: str | None = None
    #: The task has `continueOnError`: its bad end is none for its parent.
    continue_on_error: bool = False

    @property
    def is_bad(self) -> bool:
        """Return whether the end spoils the parent."""
        return self.state in _BAD and not self.continue_on_error


@dataclass(frozen=True)
class Scope:
    """Counters and verdict of a composite."""

    #: Number of children in all.
    size: int
    #: Number of children that were reached, in order: they have a row, or were skipped.
    cursor: int = 0
    open: int = 0
    ended: int = 0
    failed: int = 0
    skipped: int = 0
    #: Most children that may be open; 0: no bound.
    concurrency: int = 0
    #: False: a bad end of a child stops no sibling, and counts when all have ended.
    fail_fast: bool = True
    #: COMPLETED, or the first bad end of a child without `fail_fast`.
    outcome: TaskState = TaskState.COMPLETED
    verdict: TaskState | None = None
    #: Error of the child that decided.
    error: str | None = None
    todo: Todo | None = None


def free_places(scope: Scope) -> int:
    """Return how many more children may be opened now."""
    if scope.verdict is not None:
        return 0
    left = scope.size - scope.cursor
    return min(left, scope.concurrency - scope.open) if scope.concurrency else left


def set_verdict(scope: Scope, verdict: TaskState, error: str | None = None) -> Scope:
    """Return the composite with this verdict and its children to be closed; unchanged when it has a verdict."""
    return scope if scope.verdict else replace(scope, verdict=verdict, error=error, todo=Todo.CLOSE)


def after_children(scope: Scope, ends: Sequence[End]) -> tuple[Scope, TaskState | None]:
    """Return the composite after these open children have ended, and its own end; None: the composite goes on."""
    for end in ends:
        scope = replace(
            scope,
            open=scope.open - 1,
            ended=scope.ended + 1,
            failed=scope.failed + (end.state is TaskState.FAILED),
            skipped=scope.skipped + (end.state is TaskState.SKIPPED),
        )
        if end.is_bad and scope.fail_fast:
            scope = set_verdict(scope, end.state, end.error)
        elif end.is_bad and not scope.verdict and scope.outcome is TaskState.COMPLETED:
            scope = replace(scope, outcome=end.state, error=end.error)
    if scope.open == 0 and (scope.verdict or scope.cursor == scope.size):
        verdict = scope.verdict or scope.outcome
        return replace(scope, verdict=verdict, todo=None), verdict
    if scope.verdict is None:
        scope = replace(scope, todo=Todo.EXPAND if free_places(scope) else None)
    return scope, None


def after_batch(
    scope: Scope, cursor: int, opened: int, ends: Sequence[End]
) -> tuple[Scope, TaskState | None]:
    """Return the composite after a batch of children was reached, and its own end as `after_children`.

    `opened` children are open now; the others of the batch ended at once: skipped, failed, or kept by a restart.
    """
    reached = replace(scope, cursor=cursor, open=scope.open + opened + len(ends))
    return after_children(reached, ends)


def after_close(scope: Scope, cancelled: int, *, is_done: bool) -> tuple[Scope, TaskState | None]:
    """Return the composite after `cancelled` children were closed; `is_done`: no other child is to be closed."""
    closed = replace(scope, todo=None if is_done else Todo.CLOSE)
    return after_children(closed, [End(TaskState.CANCELLED)] * cancelled)


@dataclass(frozen=True)
class Course:
    """State of a job's row that decides what follows in it."""

    #: Id of the job.
    job_id: str = ""
    state: JobState = JobState.RUNNING
    #: 1 at first; a restart of the job begins the next.
    round: int = 1
    phase: Phase = Phase.TASKS
    #: Position of the present top task, from 1.
    position: int = 1
    #: Number of top tasks in each phase.
    counts: tuple[int, int, int] = (1, 0, 0)
    has_output: bool = False
    verdict: JobState | None = None
    #: Error of the job, set with the verdict.
    error: str | None = None
    #: The phase opens nothing more, because the job was cancelled.
    is_closed: bool = False
    todo: Todo | None = None
    #: Task of the parent job that waits for this job; None for a job of its own.
    parent_task: str | None = None


@dataclass(frozen=True)
class After:
    """Decision after a top task: the job's row, and the top task to insert as CREATED."""

    course: Course
    #: (phase, position); None: no task follows now.
    reached: tuple[Phase, int] | None = None


def after_top_task(course: Course, end: End) -> After:
    """Decide what follows when the open top task of the job's phase has ended."""
    if course.phase is Phase.TASKS and course.verdict:
        return _next_phase(course, course.verdict, course.error)
    if course.phase is Phase.TASKS and end.is_bad:
        return _next_phase(course, JobState(end.state), end.error)
    if not (end.is_bad or course.is_closed) and course.position < course.counts[course.phase]:
        return _reach(course, course.phase, course.position + 1)
    if course.phase is Phase.TASKS:
        if course.has_output:
            return After(replace(course, todo=Todo.CONCLUDE))
        return _next_phase(course, JobState.COMPLETED)
    verdict = course.verdict or JobState.COMPLETED
    if not end.is_bad:
        return _next_phase(course, verdict, course.error)
    if course.phase is Phase.FINALLY and verdict is JobState.COMPLETED:
        return _next_phase(course, JobState(end.state), end.error)
    words = [words for words in (course.error, end.error) if words]
    return _next_phase(course, verdict, "; ".join(words) or None)


def concluded(course: Course, error: str | None = None) -> After:
    """Decide what follows when the job's output was evaluated, or could not be, because of `error`."""
    return _next_phase(course, JobState.FAILED if error else JobState.COMPLETED, error)


def cancelled(course: Course, asking_task: str | None = None) -> After | None:
    """Decide what a cancel changes in the job; None: nothing. The caller then cancels the open top task.

    `asking_task` is the task of the parent job whose end cancels the job. Such a cancel stops no `finally`, and may
    come twice, or late: when the job belongs to another task. A person's second cancel stops `finally` too.
    """
    if course.state.ended or course.is_closed:
        return None
    is_late = course.phase is not Phase.TASKS or course.verdict or course.parent_task != asking_task
    if asking_task is not None and is_late:
        return None
    verdict = JobState.CANCELLED if course.verdict in (None, JobState.COMPLETED) else course.verdict
    if course.todo is Todo.CONCLUDE:
        return _next_phase(course, verdict, course.error)
    return After(replace(course, verdict=verdict, is_closed=True))


@dataclass(frozen=True)
class TopTask:
    """Last top task of `tasks` that a job had reached when it ended."""

    position: int
    end: End


def restarted(course: Course, last: TopTask, *, from_start: bool = False) -> After | None:
    """Decide how a FAILED or CANCELLED job begins its next round; None for a job in any other state.

    The round goes on at the task that did not end well; what ended well before it is kept. The new row of a composite
    names the latest row of its place that was opened, in whichever round, and keeps good children of all rounds before.
    """
    if course.state not in (JobState.FAILED, JobState.CANCELLED):
        return None
    fresh = replace(
        course,
        state=JobState.RUNNING,
        round=course.round + 1,
        phase=Phase.TASKS,
        verdict=None,
        error=None,
        is_closed=False,
        todo=None,
    )
    if from_start:
        return _reach(fresh, Phase.TASKS, 1)
    if last.end.is_bad:
        return _reach(fresh, Phase.TASKS, last.position)
    # The last task was over before the cancel came.
    return after_top_task(replace(fresh, position=last.position), last.end)


def is_kept(end: End) -> bool:
    """Return whether a restart of the job keeps a child that ended so; a child that a close cancelled runs again."""
    return not end.is_bad and end.state is not TaskState.CANCELLED


def _next_phase(course: Course, verdict: JobState, error: str | None = None) -> After:
    after = replace(course, verdict=verdict, error=error, is_closed=False, todo=None)
    if course.phase is Phase.TASKS and verdict is JobState.FAILED and course.counts[Phase.ON_FAILURE]:
        return _reach(after, Phase.ON_FAILURE, 1)
    if course.phase is not Phase.FINALLY and course.counts[Phase.FINALLY]:
        return _reach(after, Phase.FINALLY, 1)
    return After(replace(after, state=verdict, todo=Todo.SETTLE if course.parent_task else None))


def _reach(course: Course, phase: Phase, position: int) -> After:
    return After(replace(course, phase=phase, position=position), (phase, position))
