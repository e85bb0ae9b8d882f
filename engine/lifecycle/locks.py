"""Locks of the two rows that most verbs begin with; the order of all locks is job, task, node, lapse counter."""

from __future__ import annotations

from typing import NamedTuple

from engine.model.records import Task
from engine.model.tree import Course
from engine.store import jobs, tasks
from engine.store.database import Connection


class Locked(NamedTuple):
    """Course of a job and one of its tasks, both locked until the end of the transaction."""

    course: Course
    task: Task


def lock_job_and_task(c: Connection, task_id: str) -> Locked | None:
    """Lock the rows of the task's job and of the task; None for an unknown id."""
    course = jobs.lock_of(c, task_id)
    task = tasks.lock(c, task_id) if course is not None else None
    return Locked(course, task) if course is not None and task is not None else None
