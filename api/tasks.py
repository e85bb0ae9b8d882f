"""Tasks: submit, read, cancel."""

from __future__ import annotations

from api import answers, body
from api.house import House, here
from engine.errors import NotFound
from engine.jobspec import schema
from engine.lifecycle import cancel as cancelling
from engine.lifecycle import submit as submitting
from engine.store import attempts, jobs, links, tasks
from engine.store.database import Connection

Json = answers.Json


def submit_task() -> Json:
    """Take a task. With the answer 201 it is promised that it will end."""
    house = here()
    text, media = body.read()
    spec = schema.check(text, media, house.host_access, house.settings.body_bytes)
    submitted = submitting.submit(house.db, spec, house.settings)
    return answers.task(submitted.task, [], [])


def get_task(id: str) -> Json:
    """A task by its id, or by its job's; either may be shortened while unique."""
    house = here()
    return read(house, resolve(house, id))


def cancel_task(id: str) -> Json:
    """Cancel a task; its container is killed within two seconds."""
    house = here()
    with house.db.read() as c:
        ids = jobs.resolve(c, id)
    if ids.task_id is None:
        cancelling.cancel_job(house.db, ids.job_id)
    else:
        cancelling.cancel(house.db, ids.task_id)
    return {"status": "OK"}


def resolve(house: House, id: str) -> str:
    """The task that an id means. Raises NotFound, also when it is a job's with several tasks, and Ambiguous."""
    with house.db.read() as c:
        found = jobs.resolve(c, id)
    if found.task_id is None:
        raise NotFound("single task of job", id)
    return found.task_id


def read(house: House, task_id: str) -> Json:
    """The answer for one task. Raises NotFound."""
    with house.db.read() as c:
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
