"""submit: a checked task becomes rows, and with their commit the promise that it will end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from engine.dispatch import poke
from engine.jobspec import plain
from engine.jobspec.task import TaskSpec
from engine.model import expand
from engine.model.states import TaskState
from engine.settings import Settings
from engine.store import events, jobs, tasks
from engine.store.database import Database
from engine.telemetry import crash


@dataclass(frozen=True)
class Submitted:
    """What was promised."""

    job_id: str
    task_id: str


def submit(db: Database, spec: TaskSpec, settings: Settings) -> Submitted:
    """Store the task as a job of its own, to be sent at once. When this returns, it will not be lost.

    Raises StoreUnavailable: then nothing is promised, although it may have been stored.
    """
    rows = expand.first(
        spec,
        plain.dump(spec),
        job_id=uuid4().hex,
        task_id=uuid4().hex,
        queue=settings.queue_default,
    )
    with db.begin() as c:
        now, job = tasks.now(c), rows.job
        jobs.insert(c, job.id, job.name, job.description, job.tags, now)
        tasks.insert(c, [_columns(row, now) for row in rows.tasks])
        for task in tasks.of_job(c, job.id):
            events.add(c, "task", task, to_state=task.state)
        crash.point("submit.rows")
    crash.point("submit.committed")
    poke.poke(*(row.id for row in rows.tasks))
    return Submitted(rows.job.id, rows.tasks[0].id)


def _columns(row: expand.TaskRow, now: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "job_id": row.job_id,
        "position": row.position,
        "name": row.name,
        "queue": row.queue,
        "priority": row.priority,
        "state": TaskState.PENDING,
        "spec": row.spec,
        "timeout_ms": row.timeout_ms,
        "not_before": now,
        "attempt": 1,
        "delivery": 1,
        "origin": 0,
        "crashes": 0,
        "sends": 0,
        "created_at": now,
    }
