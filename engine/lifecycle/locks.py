"""Rows are locked in one order: job, task, node, lapses. Here are the first two, which most verbs begin with."""

from __future__ import annotations

from engine.model.records import Task
from engine.store import jobs, tasks
from engine.store.database import Connection


def job_and_task(c: Connection, task_id: str) -> Task | None:
    """The task, with its job's and its own row locked until the end of the transaction; None when unknown."""
    return tasks.lock(c, task_id) if jobs.lock_of(c, task_id) else None
