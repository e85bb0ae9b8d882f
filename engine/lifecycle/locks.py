"""Locks of the two rows that most verbs begin with; the order of all locks is job, task, node, lapse counter."""

from __future__ import annotations

from engine.model.records import Task
from engine.store import jobs, tasks
from engine.store.database import Connection


def lock_job_and_task(c: Connection, task_id: str) -> Task | None:
    """Lock the rows of the task's job and of the task; return the task, None for an unknown id."""
    return tasks.lock(c, task_id) if jobs.lock_of(c, task_id) else None
