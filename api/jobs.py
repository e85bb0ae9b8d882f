"""Jobs: list, search, read, cancel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api import answers, queues, tasks
from api.answers import Json
from api.context import get_caller, get_context
from engine.errors import NotFound
from engine.lifecycle import cancel as verbs
from engine.model.records import Node
from engine.store import jobs, nodes, outbox


def list_jobs(query: dict[str, Any]) -> Json:
    """List the jobs that match, newest first, without their tasks."""
    number, size = query["page"], query["size"]
    with get_context().installation.db.read() as c:
        rows, total = jobs.page(c, number, size, query["q"], (query["state"],) if query["state"] else ())
        waiting_in = outbox.queues_of(c, [job.id for job in rows if not job.state.ended])
        beating = nodes.beating(c) if waiting_in else []
    items = [answers.job(job, _waiting(beating, waiting_in.get(job.id, ()))) for job in rows]
    return answers.page(items, number, size, total)


def _waiting(beating: Sequence[Node], waiting_in: Iterable[str]) -> Json | None:
    return next(filter(None, (queues.waiting(beating, queue) for queue in waiting_in)), None)


def get_job(id: str) -> Json:
    """Return a job with its tasks; the id may be one of its tasks', and may be shortened while unique."""
    with get_context().installation.db.read() as c:
        job_id = jobs.resolve(c, id).job_id
        job = jobs.get(c, job_id)
        if job is None:
            raise NotFound("job", id)
        of_job = tasks.of_job(c, job_id)
    return {**answers.job(job), "tasks": of_job}


def cancel_job(id: str) -> Json:
    """Cancel a job: all its tasks that have not ended become CANCELLED."""
    context = get_context()
    with context.installation.db.read() as c:
        job_id = jobs.resolve(c, id).job_id
    verbs.cancel_job(context.installation, get_caller(), job_id)
    return {"status": "OK"}
