"""What answers look like: schemas for the documentation and the dump, and rows made into them.

camelCase; times RFC 3339, UTC, milliseconds; what is absent is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, fields

from engine.jobspec.schema import RetrySchema, TaskSchema
from engine.model.records import Attempt, Event, Job, Link, Node, Task
from engine.runtime.timings import SPANS

Json = dict[str, Any]

#: The field that holds the time at which something ended, by the state in which it did.
_ENDED_AT = {
    "COMPLETED": "completedAt",
    "FAILED": "failedAt",
    "CANCELLED": "cancelledAt",
    "SKIPPED": "skippedAt",
}


def _time(about: str) -> fields.String:
    return fields.String(metadata={"description": about, "format": "date-time"})


class LinkAnswer(Schema):
    """One container of a run of the chain."""

    index = fields.Integer()
    kind = fields.String(metadata={"enum": ["pre", "main", "post"]})
    name = fields.String()
    image = fields.String()
    always = fields.Boolean()
    state = fields.String(metadata={"enum": ["WAITING", "CONFIRMED", "ENDED", "SKIPPED"]})
    exitCode = fields.Integer()
    error = fields.String()
    containerId = fields.String()
    startedAt = _time("When its container was confirmed")
    endedAt = _time("When its end was stored")
    timings = fields.Dict(
        keys=fields.String(metadata={"enum": list(SPANS)}),
        values=fields.Integer(),
        metadata={
            "description": "Milliseconds that each step took; only the last of a container that was adopted"
        },
    )
    attempt = fields.Integer()
    origin = fields.Integer(metadata={"description": "Delivery in which this run of the chain was claimed"})


class AttemptAnswer(Schema):
    """One try of the whole chain."""

    attempt = fields.Integer()
    state = fields.String()
    nodeId = fields.String()
    startedAt = _time("When it was claimed")
    endedAt = _time("When it ended")
    exitCode = fields.Integer()
    error = fields.String()
    links = fields.List(
        fields.Nested(LinkAnswer),
        metadata={"description": "Links of its earlier runs, not of the present one"},
    )


class RetryAnswer(RetrySchema):
    """The policy as it was written, with what was used of it."""

    attempts = fields.Integer(metadata={"description": "Retries so far"})


class _Identity(Schema):
    """What comes first in a task's answer."""

    id = fields.String()
    jobId = fields.String()
    position = fields.Integer()
    name = fields.String()
    description = fields.String()
    state = fields.String(
        metadata={
            "enum": [
                "CREATED", "PENDING", "SCHEDULED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED",
            ]
        }
    )  # fmt: skip


class TaskAnswer(TaskSchema, _Identity):  # type: ignore[misc] # same fields, other order
    """A task: what was asked for, and what became of it."""

    createdAt = _time("When it was submitted")
    scheduledAt = _time("When its last message was sent")
    startedAt = _time("When it was claimed first")
    completedAt = _time("When it completed")
    failedAt = _time("When it failed")
    cancelledAt = _time("When it was cancelled")
    skippedAt = _time("When it was skipped")
    nodeId = fields.String(metadata={"description": "The node that has it, or had it last"})
    result = fields.String()
    error = fields.String()
    exitCode = fields.Integer()
    attempt = fields.Integer()
    delivery = fields.Integer()
    crashes = fields.Integer()
    retry = fields.Nested(RetryAnswer)  # type: ignore[assignment]
    attempts = fields.List(fields.Nested(AttemptAnswer))
    links = fields.List(fields.Nested(LinkAnswer), metadata={"description": "Links of the present run"})


class JobSummary(Schema):
    """A job without its tasks."""

    id = fields.String()
    name = fields.String()
    description = fields.String()
    tags = fields.List(fields.String())
    state = fields.String(metadata={"enum": ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]})
    createdAt = _time("When it was submitted")
    startedAt = _time("When its first task was claimed")
    completedAt = _time("When it completed")
    failedAt = _time("When it failed")
    cancelledAt = _time("When it was cancelled")
    result = fields.String()
    error = fields.String()
    taskCount = fields.Integer()


class JobAnswer(JobSummary):
    """A job with its tasks, in their order."""

    tasks = fields.List(fields.Nested(TaskAnswer))


class _Page(Schema):
    number = fields.Integer()
    size = fields.Integer()
    totalPages = fields.Integer()
    totalItems = fields.Integer()


class JobPage(_Page):
    """A page of jobs, newest first."""

    items = fields.List(fields.Nested(JobSummary))


class LogLine(Schema):
    """A line of a log, or a piece of at most 16 KB of a longer one."""

    number = fields.Integer()
    contents = fields.String()
    createdAt = _time("When the container wrote it")
    stream = fields.Integer(metadata={"description": "1 standard output, 2 standard error, 0 a note of ours"})
    link = fields.Integer()
    attempt = fields.Integer()


class LogPage(_Page):
    """A page of a log, oldest first."""

    items = fields.List(fields.Nested(LogLine))


class NodeAnswer(Schema):
    """A worker process."""

    id = fields.String()
    name = fields.String()
    host = fields.String()
    state = fields.String(metadata={"enum": ["JOINING", "LIVE", "LEAVING", "LEFT", "LAPSED"]})
    runtimeOk = fields.Boolean()
    daemon = fields.String()
    queues = fields.List(fields.String())
    slots = fields.Integer()
    startedAt = _time("When it joined")
    seenAt = _time("When it last beat")


class NodeTask(Schema):
    """A task that runs on a node."""

    id = fields.String()
    name = fields.String()


class BusyNode(NodeAnswer):
    """A worker process with what runs there."""

    running = fields.Integer(metadata={"description": "How many tasks run there"})
    tasks = fields.List(
        fields.Nested(NodeTask), metadata={"description": "100 of them at most, the oldest first"}
    )


class QueueAnswer(Schema):
    """A queue in figures."""

    name = fields.String()
    waiting = fields.Integer(metadata={"description": "Tasks PENDING or SCHEDULED"})
    running = fields.Integer()
    subscribers = fields.Integer(metadata={"description": "Live nodes that serve it"})


class Status(Schema):
    """A word about a thing."""

    status = fields.String()
    version = fields.String()


class Ready(Schema):
    """Whether work that is submitted now will be done."""

    status = fields.String()
    unserved = fields.List(
        fields.String(), metadata={"description": "Queues in which tasks wait and that no live node serves"}
    )
    nodes = fields.Integer()


class ProblemEntry(Schema):
    """One thing that is wrong with a text."""

    path = fields.String()
    line = fields.Integer()
    column = fields.Integer()
    message = fields.String()
    hint = fields.String()


class Problem(Schema):
    """Every refusal (application/problem+json)."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    errors = fields.List(fields.Nested(ProblemEntry))


def rfc3339(ms: int | None) -> str | None:
    """The time as answers write it."""
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03d}Z"


def task(found: Task, attempts: Iterable[Attempt], links: Sequence[Link]) -> Json:
    """A task's answer, from its row, its attempts and all its links."""
    run = (found.attempt, found.origin)
    past = [link for link in links if (link.attempt, link.origin) != run]
    became = _present(
        id=found.id,
        jobId=found.job_id,
        position=found.position,
        state=found.state,
        queue=found.queue,
        priority=found.priority,
        createdAt=rfc3339(found.created_at),
        scheduledAt=rfc3339(found.sent_at),
        startedAt=rfc3339(found.started_at),
        **_ended(found.state, found.ended_at),
        nodeId=found.node,
        result=found.result,
        error=found.error,
        exitCode=found.exit_code,
        attempt=found.attempt,
        delivery=found.delivery,
        crashes=found.crashes,
        retry={"limit": 0, **found.spec.get("retry", {}), "attempts": found.attempt - 1},
        attempts=[_attempt(one, past) for one in attempts],
        links=[_link(link) for link in links if (link.attempt, link.origin) == run],
    )
    return {**found.spec, **became}


def job(found: Job, count: int) -> Json:
    """A job's summary."""
    return _present(
        id=found.id,
        name=found.name,
        description=found.description,
        tags=list(found.tags),
        state=found.state,
        createdAt=rfc3339(found.created_at),
        startedAt=rfc3339(found.started_at),
        **_ended(found.state, found.ended_at),
        result=found.result,
        error=found.error,
        taskCount=count,
    )


def event(found: Event) -> Json:
    """The data of an event."""
    return _present(
        cursor=found.cursor,
        time=rfc3339(found.time),
        jobId=found.job_id,
        taskId=found.task_id,
        attempt=found.attempt,
        delivery=found.delivery,
        kind=found.kind,
        **{"from": found.from_state},
        to=found.to_state,
        node=found.node,
        reason=found.reason,
    )


def node(found: Node) -> Json:
    """A node's answer."""
    return _present(
        id=found.id,
        name=found.name,
        host=found.host,
        state=found.state,
        runtimeOk=found.runtime_ok,
        daemon=found.daemon,
        queues=list(found.queues),
        slots=found.slots,
        startedAt=rfc3339(found.started_at),
        seenAt=rfc3339(found.seen_at),
    )


def page(items: list[Json], number: int, size: int, total: int) -> Json:
    """A page as Tork writes it."""
    pages = -(-total // size)
    return {"items": items, "number": number, "size": size, "totalPages": pages, "totalItems": total}


def _attempt(found: Attempt, past: Iterable[Link]) -> Json:
    return _present(
        attempt=found.attempt,
        state=found.state,
        nodeId=found.node,
        startedAt=rfc3339(found.started_at),
        endedAt=rfc3339(found.ended_at),
        exitCode=found.exit_code,
        error=found.error,
        links=[_link(link) for link in past if link.attempt == found.attempt] or None,
    )


def _link(found: Link) -> Json:
    return _present(
        index=found.index,
        kind=found.kind,
        name=found.name,
        image=found.image,
        always=found.always or None,
        state=found.state,
        exitCode=found.exit_code,
        error=found.error,
        containerId=found.container_id,
        startedAt=rfc3339(found.started_at),
        endedAt=rfc3339(found.ended_at),
        timings=dict(found.timings) if found.timings else None,
        attempt=found.attempt,
        origin=found.origin,
    )


def _ended(state: str, at: int | None) -> Json:
    return {_ENDED_AT[state]: rfc3339(at)} if state in _ENDED_AT else {}


def _present(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}
