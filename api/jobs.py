"""Jobs: list, search, read, cancel."""

from __future__ import annotations

from typing import Any

from api import answers, tasks
from api.context import ApiContext, get_context
from engine.errors import NotFound
from engine.lifecycle import cancel as cancelling
from engine.model.states import JobState
from engine.store import jobs

Json = answers.Json


def list_jobs(asked: dict[str, Any]) -> Json:
    """A page of jobs, newest first."""
    return find(get_context(), asked["page"], asked["size"], asked["q"], asked["state"])


def get_job(id: str) -> Json:
    """A job with its tasks, by its id or that of one of its tasks."""
    return read(get_context(), id)


def cancel_job(id: str) -> Json:
    """Cancel a job with all its tasks that have not ended."""
    context = get_context()
    cancelling.cancel_job(context.db, resolve(context, id))
    return {"status": "OK"}


def resolve(context: ApiContext, id: str) -> str:
    """The job that an id means. Raises NotFound and Ambiguous."""
    with context.db.read() as c:
        return jobs.resolve(c, id).job_id


def find(context: ApiContext, number: int, size: int, q: str = "", state: JobState | None = None) -> Json:
    """A page of the jobs that fit (from 1)."""
    with context.db.read() as c:
        found, total = jobs.page(c, number, size, q, state)
        counts = jobs.task_counts(c, [job.id for job in found])
    items = [answers.job(job, counts.get(job.id, 0)) for job in found]
    return answers.page(items, number, size, total)


def read(context: ApiContext, id: str) -> Json:
    """The answer for one job, by a whole or shortened id. Raises NotFound and Ambiguous."""
    with context.db.read() as c:
        job_id = jobs.resolve(c, id).job_id
        found = jobs.get(c, job_id)
        if found is None:
            raise NotFound("job", id)
        its = tasks.of_job(c, job_id)
    return {**answers.job(found, len(its)), "tasks": its}
