"""Tasks: submit, read, cancel."""

from __future__ import annotations

from collections.abc import Sequence

from api import answers, body, queues
from api.answers import Json
from api.context import ApiContext, get_caller, get_context
from api.problem import RequestRefused
from engine.errors import NotFound
from engine.jobspec import schema
from engine.lifecycle import cancel as verbs
from engine.lifecycle import submit as submitting
from engine.model.records import Task
from engine.store import attempts, jobs, links, nodes, tasks
from engine.store.database import Connection


def submit_task() -> Json:
    """Submit a task. The answer 201 promises that the task will end, whatever crashes on the way."""
    context = get_context()
    text, media = body.read()
    with context.turns.turn():
        spec = schema.check(text, media, context.host_access, context.installation.settings.api.body_bytes)
    submitted = submitting.submit(context.installation, get_caller(), spec)
    return answers.task(submitted, [], [])


def get_task(id: str) -> Json:
    """Return a task; the id may be that of its job, and may be shortened while unique."""
    context = get_context()
    task_id = resolve(context, id)
    with context.installation.db.read() as c:
        task = tasks.get(c, task_id)
        if task is None:
            raise NotFound("task", id)
        return _answer(c, [task])[0]


def cancel_task(id: str) -> Json:
    """Cancel a task; a running container is killed within two seconds. The id may be that of its job."""
    context = get_context()
    with context.installation.db.read() as c:
        ids = jobs.resolve(c, id)
    if ids.task_id is None:
        verbs.cancel_job(context.installation, get_caller(), ids.job_id)
    else:
        verbs.cancel(context.installation, get_caller(), ids.task_id)
    return {"status": "OK"}


def resolve(context: ApiContext, id: str) -> str:
    """Return the id of the task that a whole or shortened id of a task, or of its job, names.

    Raises NotFound, Ambiguous, and RequestRefused (404) for a job of several tasks.
    """
    with context.installation.db.read() as c:
        ids = jobs.resolve(c, id)
    if ids.task_id is None:
        remedy = f"use the id of one task; GET /jobs/{ids.job_id} lists them"
        raise RequestRefused(404, f"job {ids.job_id} has several tasks", remedy)
    return ids.task_id


def of_job(c: Connection, job_id: str) -> list[Json]:
    """Return what TaskAnswer reads for each task of a job, in their order."""
    return _answer(c, tasks.of_job(c, job_id))


def _answer(c: Connection, rows: Sequence[Task]) -> list[Json]:
    """Return what TaskAnswer reads for each of the tasks; three queries in all, four when one of them waits."""
    ids = [task.id for task in rows]
    all_attempts, all_links = attempts.of_tasks(c, ids), links.of_tasks(c, ids)
    beating = nodes.beating(c) if any(task.state.waits for task in rows) else []
    return [
        answers.task(
            task,
            [attempt for attempt in all_attempts if attempt.task_id == task.id],
            [link for link in all_links if link.task_id == task.id],
            queues.waiting(beating, task.queue) if task.state.waits else None,
        )
        for task in rows
    ]
