"""PURE. A submitted task as the records to insert. Ids are arguments; the store sets the times."""

from __future__ import annotations

from engine.jobspec import stored
from engine.jobspec.task import TaskSpec
from engine.model.records import Job, PlannedLink, Task


def job_of_one(
    spec: TaskSpec, *, job_id: str, task_id: str, default_queue: str, longest_seconds: float | None = None
) -> tuple[Job, list[Task]]:
    """Return the job and the tasks for a task that is submitted alone: a job of one task, with its name.

    A task without a time-out has `longest_seconds`, the ceiling of the operator.
    """
    seconds = longest_seconds if spec.timeout_seconds is None else spec.timeout_seconds
    task = Task(
        id=task_id,
        job_id=job_id,
        position=1,
        name=spec.name,
        queue=spec.queue or default_queue,
        priority=spec.priority,
        spec=stored.dump(spec),
        # At least 1 ms: 0 after rounding would be no time at all.
        timeout_ms=None if seconds is None else max(1, round(seconds * 1000)),
        plan=tuple(
            PlannedLink(kind, link.name or kind, link.image, link.always) for kind, link in spec.links
        ),
    )
    return Job(job_id, spec.name, spec.description, spec.tags), [task]
