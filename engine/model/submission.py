"""PURE. What a submitted task becomes: the rows, as frozen values. Ids, times and the dumped spec are arguments."""

from __future__ import annotations

from dataclasses import dataclass

from engine.jobspec.stored import SpecJson
from engine.jobspec.task import TaskSpec


@dataclass(frozen=True)
class JobRow:
    """A job to be inserted, PENDING."""

    id: str
    name: str
    description: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True)
class TaskRow:
    """A task to be inserted, PENDING, attempt and delivery 1."""

    id: str
    job_id: str
    position: int
    name: str
    queue: str
    priority: int
    spec: SpecJson
    #: Bound of an attempt in milliseconds, None: none.
    timeout_ms: int | None


@dataclass(frozen=True)
class JobRows:
    """All that a submission becomes."""

    job: JobRow
    tasks: tuple[TaskRow, ...]


def first(spec: TaskSpec, dumped: SpecJson, *, job_id: str, task_id: str, queue: str) -> JobRows:
    """The rows of a task that is submitted alone: a job of one task, which bears its name.

    `dumped` is the spec as it is stored, `queue` the one for a task that names none.
    """
    seconds = spec.timeout_seconds
    task = TaskRow(
        id=task_id,
        job_id=job_id,
        position=1,
        name=spec.name,
        queue=spec.queue or queue,
        priority=spec.priority,
        spec=dumped,
        timeout_ms=None if seconds is None else max(1, round(seconds * 1000)),
    )
    return JobRows(JobRow(job_id, spec.name, spec.description, spec.tags), (task,))
