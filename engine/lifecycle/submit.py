"""submit: a checked task becomes rows, and with their commit the promise that it will end."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from engine import failpoints
from engine.dispatch import wakeup
from engine.jobspec import stored
from engine.jobspec.task import TaskSpec
from engine.lifecycle.installation import Installation
from engine.model import submission
from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.store import events, jobs, tasks


@dataclass(frozen=True)
class Submitted:
    """What was promised."""

    job_id: str
    task_id: str
    #: As it was committed.
    task: Task


def submit(installation: Installation, caller: Caller, spec: TaskSpec) -> Submitted:
    """Store the task as a job of its own, to be sent at once. When this returns, it will not be lost.

    Raises StoreUnavailable: then nothing is promised, although it may have been stored.
    """
    rows = submission.first(
        spec,
        stored.dump(spec),
        job_id=uuid4().hex,
        task_id=uuid4().hex,
        queue=installation.settings.broker.default_queue,
    )
    with installation.db.begin() as c:
        job = rows.job
        now = jobs.insert(c, job.id, job.name, job.description, job.tags)
        new = [_task(row, now) for row in rows.tasks]
        tasks.insert(
            c,
            [{**vars(task), "timeout_ms": row.timeout_ms} for task, row in zip(new, rows.tasks, strict=True)],
        )
        events.add_all(c, caller, "task", new, to_state=TaskState.PENDING)
        failpoints.hit("submit.rows")
    failpoints.hit("submit.committed")
    wakeup.wake(*(task.id for task in new))
    return Submitted(rows.job.id, new[0].id, new[0])


def _task(row: submission.TaskRow, now: int) -> Task:
    return Task(
        id=row.id,
        job_id=row.job_id,
        position=row.position,
        name=row.name,
        queue=row.queue,
        priority=row.priority,
        state=TaskState.PENDING,
        spec=row.spec,
        not_before=now,
        attempt=1,
        delivery=1,
        origin=0,
        node=None,
        held_since=None,
        crashes=0,
        created_at=now,
        sent_at=None,
        sends=0,
        started_at=None,
        ended_at=None,
        exit_code=None,
        result=None,
        error=None,
    )
