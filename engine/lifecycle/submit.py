"""submit: store a checked task; the commit is the promise that it will end."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from engine import failpoints
from engine.dispatch import wakeup
from engine.jobspec.task import TaskSpec
from engine.lifecycle.installation import Installation
from engine.model import submission
from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.store import events, jobs, tasks


def submit(installation: Installation, caller: Caller, spec: TaskSpec) -> Task:
    """Store the task as a job of its own and wake the flusher; return the task as it was committed.

    When this returns, the task will not be lost. Raises StoreUnavailable: then nothing is promised, although the task
    may have been stored.
    """
    job, new = submission.job_of_one(
        spec,
        job_id=uuid4().hex,
        task_id=uuid4().hex,
        default_queue=installation.settings.broker.default_queue,
        longest_seconds=installation.settings.runtime.max_timeout_seconds or None,
    )
    with installation.db.begin() as c:
        now = jobs.insert(c, job)
        new = [replace(task, created_at=now, not_before=now) for task in new]
        tasks.insert(c, new)
        events.add_all(c, caller, "task", new, to_state=TaskState.PENDING)
        failpoints.hit("submit.rows")
    failpoints.hit("submit.committed")
    wakeup.wake(*(task.id for task in new))
    return new[0]
