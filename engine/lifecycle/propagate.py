"""propagate: what the end of a task changes in its job, in the transaction of the verb that ends the task."""

from __future__ import annotations

from engine.model.records import Caller
from engine.model.states import JobState
from engine.model.tree import Course, End, after_top_task
from engine.store import events, jobs
from engine.store.database import Connection


def propagate(c: Connection, caller: Caller, course: Course, end: End, result: str | None = None) -> None:
    """End the job when nothing follows its task, which has ended. `result` is the task's.

    The job's row is locked, and `course` is what it says.
    """
    after = after_top_task(course, end).course
    is_completed = after.state is JobState.COMPLETED
    if after.state.ended and jobs.end(c, after, result if is_completed else None):
        was, to = course.state, after.state
        events.add(c, caller, "job", job_id=course.job_id, from_state=was, to_state=to, reason=after.error)
