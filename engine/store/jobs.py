"""Jobs: a function for each query and each transition, and the search in the list of jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from engine.errors import Ambiguous, NotFound, ShortId
from engine.model.records import Job
from engine.model.states import JobState
from engine.model.tree import Course, Phase, Todo
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import jobs, tasks

#: A shorter beginning of an id would match too many ids.
SHORTEST_ID = 4
#: Words in a search; each is a comparison with every job.
MOST_WORDS = 10

_ID = re.compile(rf"[0-9a-f]{{{SHORTEST_ID},32}}")
_HEX_DIGITS = set("0123456789abcdef")
_OPEN = tuple(state for state in JobState if not state.ended)

# Built once, as in engine.store.tasks.
_THIS = jobs.c.id == sa.bindparam("the_job")
_GET = sa.select(jobs).where(_THIS)
_COUNTS = ("task_count", "failure_count", "finally_count")
_OF_COURSE = (
    "round",
    "phase",
    "position",
    "has_output",
    "verdict",
    "error",
    "is_closed",
    "todo",
    "parent_task",
)
_COURSE = sa.select(jobs.c.id, jobs.c.state, *(jobs.c[name] for name in (*_COUNTS, *_OF_COURSE)))
_LOCK = _COURSE.where(_THIS).with_for_update()
# The job of a task never changes, so it can be looked up without a lock.
_LOCK_OF = _COURSE.where(
    jobs.c.id == sa.select(tasks.c.job_id).where(tasks.c.id == sa.bindparam("the_task")).scalar_subquery()
).with_for_update()
_INSERT = jobs.insert().values(created_at=now_ms()).returning(jobs.c.created_at)
_START = (
    jobs.update()
    .where(_THIS, guard("start_job.state", jobs.c.state == JobState.PENDING))
    .values(state=JobState.RUNNING, started_at=now_ms())
)
_END = (
    jobs.update()
    .where(_THIS, guard("end_job.state", jobs.c.state.in_(_OPEN)))
    .values(
        state=sa.bindparam("the_state"),
        ended_at=now_ms(),
        result=sa.bindparam("the_result"),
        error=sa.bindparam("the_error"),
        verdict=sa.bindparam("the_state"),
        todo=sa.bindparam("the_todo"),
    )
)


@dataclass(frozen=True)
class Ids:
    """Meaning of a whole or shortened id: a job, and the task that was named or is the job's only one."""

    job_id: str
    #: None for the id of a job with several tasks.
    task_id: str | None


_RECORD = tuple(field.name for field in fields(Job))


def _record(row: sa.Row[Any]) -> Job:
    values = {name: row._mapping[name] for name in _RECORD}
    return Job(**{**values, "state": JobState(values["state"]), "tags": tuple(values["tags"])})


def _course(row: sa.Row[Any] | None) -> Course | None:
    if row is None:
        return None
    return Course(
        job_id=row.id,
        state=JobState(row.state),
        round=row.round,
        phase=Phase(row.phase),
        position=row.position,
        counts=(row.task_count, row.failure_count, row.finally_count),
        has_output=row.has_output,
        verdict=JobState(row.verdict) if row.verdict else None,
        error=row.error,
        is_closed=row.is_closed,
        todo=Todo(row.todo) if row.todo else None,
        parent_task=row.parent_task,
    )


def insert(c: sa.Connection, job: Job) -> int:
    """Insert a new job; return its creation time, by the database's clock."""
    values = {name: value for name, value in vars(job).items() if name != "created_at"}
    return int(c.scalar(_INSERT, values | {"tags": list(job.tags)}) or 0)


def get(c: sa.Connection, job_id: str) -> Job | None:
    """Return the job, or None."""
    row = c.execute(_GET, {"the_job": job_id}).one_or_none()
    return _record(row) if row else None


def lock(c: sa.Connection, job_id: str) -> Course | None:
    """Lock the job's row until the end of the transaction; return its course. It is the first lock of every verb."""
    return _course(c.execute(_LOCK, {"the_job": job_id}).one_or_none())


def lock_of(c: sa.Connection, task_id: str) -> Course | None:
    """Lock the row of this task's job until the end of the transaction; return its course, None for no such task."""
    return _course(c.execute(_LOCK_OF, {"the_task": task_id}).one_or_none())


def start(c: sa.Connection, job_id: str) -> bool:
    """Move the job from PENDING to RUNNING, because its first task was claimed. Refused from any other state."""
    return c.execute(_START, {"the_job": job_id}).rowcount == 1


def end(c: sa.Connection, course: Course, result: str | None = None) -> bool:
    """End the job as its course says. Refused for a job that has ended: nothing leaves an ended state."""
    params = {"the_job": course.job_id, "the_state": course.state, "the_result": result}
    params |= {"the_error": course.error, "the_todo": course.todo}
    return c.execute(_END, params).rowcount == 1


def page(
    c: sa.Connection, number: int, size: int, q: str = "", states: Sequence[JobState] = ()
) -> tuple[list[Job], int]:
    """Return the number-th page (from 1) of the matching jobs, newest first, and the number of all matches.

    Each word of `q` must be in the name or the description, ignoring case; `tag:x` matches a tag. The caller
    refuses more than MOST_WORDS words. Without `states`, jobs in any state match.
    """
    guards = [_fits(c, word) for word in q.split()[:MOST_WORDS]]
    if states:
        guards.append(jobs.c.state.in_(list(states)))
    total = int(c.scalar(sa.select(sa.func.count()).select_from(jobs).where(*guards)) or 0)
    rows = c.execute(
        sa.select(jobs)
        .where(*guards)
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
        .limit(size)
        .offset((number - 1) * size)
    )
    return [_record(row) for row in rows], total


def of_ids(c: sa.Connection, job_ids: Sequence[str]) -> list[Job]:
    """Return the jobs with these ids, newest first; unknown ids are skipped."""
    rows = c.execute(
        sa.select(jobs)
        .where(jobs.c.id.in_(list(job_ids)))
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
    )
    return [_record(row) for row in rows]


def counts(c: sa.Connection) -> dict[JobState, int]:
    """Return the number of jobs in each state."""
    rows: Any = c.execute(sa.select(jobs.c.state, sa.func.count().label("n")).group_by(jobs.c.state))
    return {JobState(row.state): row.n for row in rows}


def _fits(c: sa.Connection, word: str) -> sa.ColumnElement[bool]:
    if word.startswith("tag:"):
        return _has_tag(c, word.removeprefix("tag:"))
    if c.dialect.name == "sqlite":
        # LIKE ignores the case of ASCII there; icontains would also call lower() for each row.
        return sa.or_(
            *(column.contains(word, autoescape=True) for column in (jobs.c.name, jobs.c.description))
        )
    return sa.or_(*(column.icontains(word, autoescape=True) for column in (jobs.c.name, jobs.c.description)))


def _has_tag(c: sa.Connection, tag: str) -> sa.ColumnElement[bool]:
    if c.dialect.name == "sqlite":
        each = sa.func.json_each(jobs.c.tags).table_valued("value")
    else:
        each = sa.func.json_array_elements_text(jobs.c.tags).table_valued("value").render_derived()
    return sa.exists(sa.select(sa.literal(1)).select_from(each).where(each.c.value == tag))


def resolve(c: sa.Connection, id: str) -> Ids:
    """Return what an id of a job or a task means; a unique beginning of SHORTEST_ID characters is enough.

    Raises NotFound, also for text that is not an id, and Ambiguous.
    """
    text = id.lower()
    if len(text) < SHORTEST_ID and set(text) <= _HEX_DIGITS:
        raise ShortId("job or task", id, SHORTEST_ID)
    if _ID.fullmatch(text) is None:
        raise NotFound("job or task", id[:40])
    found_jobs = c.scalars(sa.select(jobs.c.id).where(_begins(jobs.c.id, text)).limit(2)).all()
    found_tasks = c.execute(
        sa.select(tasks.c.id, tasks.c.job_id).where(_begins(tasks.c.id, text)).limit(2)
    ).all()
    if not found_jobs and not found_tasks:
        raise NotFound("job or task", id)
    if len(found_jobs) + len(found_tasks) > 1:
        raise Ambiguous("job or task", id)
    if found_tasks:
        return Ids(found_tasks[0].job_id, found_tasks[0].id)
    of_job = c.scalars(sa.select(tasks.c.id).where(tasks.c.job_id == found_jobs[0]).limit(2)).all()
    return Ids(found_jobs[0], of_job[0] if len(of_job) == 1 else None)


def _begins(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    # A range, not LIKE: it uses the primary key's index in every collation. Every hex digit sorts before g.
    return column == text if len(text) == 32 else sa.and_(column >= text, column < text + "g")
