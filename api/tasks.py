"""Tasks: submit, read, cancel."""

from __future__ import annotations

from api import answers, body
from api.context import ApiContext, get_context
from engine.errors import NotFound
from engine.jobspec import schema
from engine.lifecycle import cancel as cancelling
from engine.lifecycle import submit as submitting
from engine.store import attempts, jobs, links, tasks
from engine.store.database import Connection

Json = answers.Json


def submit_task() -> Json:
    """Take a task. With the answer 201 it is promised that it will end."""
    context = get_context()
    text, media = body.read()
    spec = schema.check(text, media, context.host_access, context.settings.api.body_bytes)
    submitted = submitting.submit(context.db, spec, context.settings)
    return answers.task(submitted.task, [], [])


def get_task(id: str) -> Json:
    """A task by its id, or by its job's; either may be shortened while unique."""
    context = get_context()
    return read(context, resolve(context, id))


def cancel_task(id: str) -> Json:
    """Cancel a task; its container is killed within two seconds."""
    context = get_context()
    with context.db.read() as c:
        ids = jobs.resolve(c, id)
    if ids.task_id is None:
        cancelling.cancel_job(context.db, ids.job_id)
    else:
        cancelling.cancel(context.db, ids.task_id)
    return {"status": "OK"}


def resolve(context: ApiContext, id: str) -> str:
    """The task that an id means. Raises NotFound, also when it is a job's with several tasks, and Ambiguous."""
    with context.db.read() as c:
        found = jobs.resolve(c, id)
    if found.task_id is None:
        raise NotFound("single task of job", id)
    return found.task_id


def read(context: ApiContext, task_id: str) -> Json:
    """The answer for one task. Raises NotFound."""
    with context.db.read() as c:
        found = tasks.get(c, task_id)
        if found is None:
            raise NotFound("task", task_id)
        return answers.task(found, attempts.of_tasks(c, [task_id]), links.of_tasks(c, [task_id]))


def of_job(c: Connection, job_id: str) -> list[Json]:
    """The answers for all tasks of a job, in their order, by three queries."""
    found = tasks.of_job(c, job_id)
    ids = [task.id for task in found]
    tried, ran = attempts.of_tasks(c, ids), links.of_tasks(c, ids)
    return [
        answers.task(
            task,
            [attempt for attempt in tried if attempt.task_id == task.id],
            [link for link in ran if link.task_id == task.id],
        )
        for task in found
    ]
