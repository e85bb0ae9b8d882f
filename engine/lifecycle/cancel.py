"""cancel, cancel_job: open tasks become CANCELLED; the node that runs one kills its container after a beat or two."""

from __future__ import annotations

from engine import failpoints
from engine.errors import FerrymanError, NotFound
from engine.lifecycle import end_task, locks
from engine.lifecycle.installation import Installation
from engine.lifecycle.locks import Locked
from engine.model.records import Caller
from engine.model.states import JobState, TaskState
from engine.store import jobs, tasks


class AlreadyEnded(FerrymanError):
    """Refusal to cancel a task or job that has COMPLETED or FAILED."""

    def __init__(self, kind: str, id: str, state: str) -> None:
        super().__init__(f"{kind} {id} is {state} already: only a {kind} that has not ended can be cancelled")
        self.state = state


def cancel(installation: Installation, caller: Caller, task_id: str) -> tuple[str, ...]:
    """Cancel a task, and its job when no other task of the job is open.

    Return the ids of the tasks that changed, none when the task was CANCELLED before. Raises NotFound,
    AlreadyEnded, StoreUnavailable.
    """
    with installation.db.begin() as c:
        locked = locks.lock_job_and_task(c, task_id)
        if locked is None:
            raise NotFound("task", task_id)
        if not _is_open("task", task_id, locked.task.state):
            return ()
        end_task.cancel(c, caller, locked)
        failpoints.hit("cancel.rows")
    failpoints.hit("cancel.committed")
    return (task_id,)


def cancel_job(installation: Installation, caller: Caller, job_id: str) -> tuple[str, ...]:
    """Cancel a job with all its open tasks.

    Return the ids of the tasks that changed, none when the job was CANCELLED before. Raises NotFound,
    AlreadyEnded, StoreUnavailable.
    """
    with installation.db.begin() as c:
        course = jobs.lock(c, job_id)
        if course is None:
            raise NotFound("job", job_id)
        if not _is_open("job", job_id, course.state):
            return ()
        # Read again under the lock of each row.
        locked = [tasks.lock(c, task.id) for task in tasks.of_job(c, job_id)]
        changed = [task for task in locked if task is not None and not task.state.ended]
        for task in changed:
            end_task.cancel(c, caller, Locked(course, task))
        failpoints.hit("cancel_job.rows")
    failpoints.hit("cancel_job.committed")
    return tuple(task.id for task in changed)


def _is_open(kind: str, id: str, state: TaskState | JobState) -> bool:
    """Return True for an open row, False for a CANCELLED one. Raises AlreadyEnded for any other end."""
    if state.ended and state not in (TaskState.CANCELLED, JobState.CANCELLED):
        raise AlreadyEnded(kind, id, state)
    return not state.ended
