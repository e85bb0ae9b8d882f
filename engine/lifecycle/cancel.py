"""cancel: what has not ended becomes CANCELLED. The node that runs it kills its container within a beat or two."""

from __future__ import annotations

from engine import failpoints
from engine.errors import FerrymanError, NotFound
from engine.lifecycle import end_task
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Job, Task
from engine.model.states import JobState, TaskState
from engine.store import attempts, events, jobs, tasks
from engine.store.database import Connection


class AlreadyEnded(FerrymanError):
    """It ended otherwise before: nothing leaves an ended state."""

    def __init__(self, what: str, id: str, state: str) -> None:
        super().__init__(f"{what} {id} is {state} already: what has ended cannot be cancelled")
        self.state = state


def cancel(installation: Installation, caller: Caller, task_id: str) -> tuple[str, ...]:
    """Cancel a task, and its job when that was the last of its tasks to end.

    Returns the ids of the tasks that changed: none when it was CANCELLED before. Raises NotFound,
    AlreadyEnded, StoreUnavailable.
    """
    with installation.db.begin() as c:
        job_id = tasks.job_of(c, task_id)
        job = None if job_id is None else jobs.lock(c, job_id)
        if job is None:
            raise NotFound("task", task_id)
        task = tasks.lock(c, task_id)
        if task is None:
            raise NotFound("task", task_id)
        if task.state is TaskState.CANCELLED:
            return ()
        if task.state.ended:
            raise AlreadyEnded("task", task_id, task.state)
        _end(c, caller, task)
        if all(other.state.ended for other in tasks.of_job(c, job.id)):
            _end_job(c, caller, job)
        failpoints.hit("cancel.rows")
    failpoints.hit("cancel.committed")
    return (task_id,)


def cancel_job(installation: Installation, caller: Caller, job_id: str) -> tuple[str, ...]:
    """Cancel a job with all its tasks that have not ended.

    Returns the ids of the tasks that changed: none when it was CANCELLED before. Raises NotFound,
    AlreadyEnded, StoreUnavailable.
    """
    with installation.db.begin() as c:
        job = jobs.lock(c, job_id)
        if job is None:
            raise NotFound("job", job_id)
        if job.state is JobState.CANCELLED:
            return ()
        if job.state.ended:
            raise AlreadyEnded("job", job_id, job.state)
        changed = [task for task in _locked(c, job_id) if not task.state.ended]
        for task in changed:
            _end(c, caller, task)
        _end_job(c, caller, job)
        failpoints.hit("cancel_job.rows")
    failpoints.hit("cancel_job.committed")
    return tuple(task.id for task in changed)


def _locked(c: Connection, job_id: str) -> list[Task]:
    """The job's tasks as they are once their rows are locked."""
    found = (tasks.lock(c, task.id) for task in tasks.of_job(c, job_id))
    return [task for task in found if task is not None]


def _end_job(c: Connection, caller: Caller, job: Job) -> None:
    if jobs.end(c, job.id, JobState.CANCELLED):
        events.add(c, caller, "job", job_id=job.id, from_state=job.state, to_state=JobState.CANCELLED)


def _end(c: Connection, caller: Caller, task: Task) -> None:
    tasks.cancel(c, task.id)
    if task.origin:
        # A run of this attempt began; it may have been lost since, and the task be PENDING again.
        attempts.end(c, task.token, TaskState.CANCELLED, None, None)
        end_task.close(c, caller, task, "cancelled")
    events.add(
        c,
        caller,
        "task",
        task,
        from_state=task.state,
        to_state=TaskState.CANCELLED,
        node=task.node,
        reason="cancelled",
    )
