"""Schemas of the API's answers: they read rows and records, and document the answers in OpenAPI.

Names are camelCase; times are RFC 3339, UTC, with milliseconds; absent values are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from marshmallow import Schema, fields, post_dump
from marshmallow.utils import get_value

from engine.jobspec.nested import RetrySchema
from engine.jobspec.schema import TaskSchema
from engine.model.records import Attempt, Event, Job, Link, Task
from engine.model.states import HoldKind
from engine.runtime.timings import SPANS
from engine.wording.times import rfc3339

Json = dict[str, Any]


class Time(fields.String):
    """Milliseconds of a record as RFC 3339; with `state`, only of a record in that state."""

    def __init__(self, about: str, attribute: str | None = None, state: str | None = None) -> None:
        metadata = {"description": about, "format": "date-time"}
        super().__init__(attribute=attribute, dump_only=True, metadata=metadata)
        self.state = state

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if self.state and get_value(obj, "state") != self.state else rfc3339(value)


class Answer(Schema):
    """Base of the answers: names in camelCase, no key for an absent value."""

    #: Leave out False and empty lists and maps too.
    leave_out_empty: ClassVar[bool] = False

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Name the field in camelCase."""
        field_obj.data_key = re.sub("_([a-z])", lambda match: match[1].upper(), field_name)

    @post_dump
    def _without_absent(self, data: Json, **_: Any) -> Json:
        present = {name: value for name, value in data.items() if value is not None}
        if not self.leave_out_empty:
            return present
        return {
            name: value for name, value in present.items() if value is not False and value not in ([], {})
        }


class LinkAnswer(Answer):
    """Container of a run of the chain."""

    leave_out_empty = True
    index = fields.Integer()
    kind = fields.String(metadata={"enum": ["pre", "main", "post"]})
    name = fields.String()
    image = fields.String()
    always = fields.Boolean()
    state = fields.String(metadata={"enum": ["WAITING", "CONFIRMED", "ENDED", "SKIPPED"]})
    exit_code = fields.Integer()
    error = fields.String()
    container_id = fields.String()
    started_at = Time("When its container was confirmed")
    ended_at = Time("When its end was stored")
    timings = fields.Dict(
        keys=fields.String(metadata={"enum": list(SPANS)}),
        values=fields.Integer(),
        metadata={"description": "Milliseconds of each step; an adopted container has only its last step"},
    )
    attempt = fields.Integer()
    origin = fields.Integer(metadata={"description": "Delivery in which this run of the chain was claimed"})


class AttemptAnswer(Answer):
    """Try of the whole chain."""

    leave_out_empty = True
    attempt = fields.Integer()
    state = fields.String()
    node_id = fields.String(attribute="node")
    started_at = Time("When it was claimed")
    ended_at = Time("When it ended")
    exit_code = fields.Integer()
    error = fields.String()
    links = fields.List(
        fields.Nested(LinkAnswer),
        metadata={"description": "Links of its earlier runs; those of the present run are in the task"},
    )


class RetryAnswer(RetrySchema):
    """The retry policy as submitted, with the number of retries so far."""

    attempts = fields.Integer(metadata={"description": "Retries so far"})


class WaitingAnswer(Answer):
    """Reason why a task waits, apart from its turn."""

    code = fields.String(
        metadata={
            "enum": ["unserved", "held"],
            "description": "unserved: no node serves its queue; held: those that do cannot begin tasks now",
        }
    )
    message = fields.String(metadata={"description": "The reason and the remedy, for people"})


class _TaskIdentity(Answer):
    """First fields of a task's answer."""

    id = fields.String()
    job_id = fields.String()
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


class TaskAnswer(TaskSchema, _TaskIdentity):  # type: ignore[misc] # same fields, other order
    """A task: its spec as submitted, its state and its runs."""

    created_at = Time("When it was submitted")
    scheduled_at = Time("When its last message was sent", "sent_at")
    started_at = Time("When it was first claimed")
    completed_at = Time("When it completed", "ended_at", "COMPLETED")
    failed_at = Time("When it failed", "ended_at", "FAILED")
    cancelled_at = Time("When it was cancelled", "ended_at", "CANCELLED")
    skipped_at = Time("When it was skipped", "ended_at", "SKIPPED")
    node_id = fields.String(attribute="node", metadata={"description": "Its node, or its last one"})
    result = fields.String()
    error = fields.String()
    exit_code = fields.Integer()
    attempt = fields.Integer()
    delivery = fields.Integer()
    crashes = fields.Integer()
    waiting = fields.Nested(WaitingAnswer)
    retry = fields.Nested(RetryAnswer)  # type: ignore[assignment]
    attempts = fields.List(fields.Nested(AttemptAnswer))
    links = fields.List(fields.Nested(LinkAnswer), metadata={"description": "Links of the present run"})


class JobSummary(Answer):
    """A job without its tasks."""

    id = fields.String()
    name = fields.String()
    description = fields.String()
    tags = fields.List(fields.String())
    state = fields.String(metadata={"enum": ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]})
    created_at = Time("When it was submitted")
    started_at = Time("When its first task was claimed")
    completed_at = Time("When it completed", "ended_at", "COMPLETED")
    failed_at = Time("When it failed", "ended_at", "FAILED")
    cancelled_at = Time("When it was cancelled", "ended_at", "CANCELLED")
    result = fields.String()
    error = fields.String()
    task_count = fields.Integer()
    waiting = fields.Nested(WaitingAnswer)


class JobAnswer(JobSummary):
    """A job with its tasks, in their order."""

    tasks = fields.List(fields.Nested(TaskAnswer))


class _Page(Answer):
    number = fields.Integer(metadata={"description": "Number of this page, from 1"})
    size = fields.Integer(metadata={"description": "Items on a full page"})
    total_pages = fields.Integer()
    total_items = fields.Integer()


class JobPage(_Page):
    """A page of jobs, newest first."""

    items = fields.List(fields.Nested(JobSummary))


class LogLine(Answer):
    """A line of a log, or a piece of at most 16 KB of a longer line."""

    number = fields.Integer()
    contents = fields.String()
    created_at = fields.String(metadata={"description": "When the container wrote it", "format": "date-time"})
    stream = fields.Integer(
        metadata={"description": "1: standard output, 2: standard error, 0: a note from Ferryman"}
    )
    link = fields.Integer()
    attempt = fields.Integer()


class LogPage(_Page):
    """A page of a log, oldest line first."""

    items = fields.List(fields.Nested(LogLine))


class HoldAnswer(Answer):
    """Reason why a worker process claims nothing for now."""

    kind = fields.String(metadata={"enum": list(HoldKind)})
    reason = fields.String()
    since = Time("When it began")


class HeldNode(Answer):
    """A worker process that claims nothing for now; its running tasks go on."""

    id = fields.String()
    name = fields.String()
    host = fields.String()
    holds = fields.List(fields.Nested(HoldAnswer))


class NodeAnswer(Answer):
    """A worker process."""

    id = fields.String()
    name = fields.String()
    host = fields.String()
    state = fields.String(metadata={"enum": ["JOINING", "LIVE", "LEAVING", "LEFT", "LAPSED"]})
    runtime_ok = fields.Boolean(metadata={"description": "Whether its Docker daemon answers"})
    daemon = fields.String()
    queues = fields.List(fields.String())
    slots = fields.Integer(metadata={"description": "Tasks that it runs at the same time"})
    started_at = Time("When it joined")
    seen_at = Time("When its last beat was stored")
    holds = fields.List(
        fields.Nested(HoldAnswer), metadata={"description": "Why it claims nothing for now; empty: it claims"}
    )


class NodeTask(Answer):
    """A task that runs on a node."""

    id = fields.String()
    name = fields.String()


class BusyNode(NodeAnswer):
    """A worker process with the tasks that it runs."""

    running = fields.Integer(metadata={"description": "Number of tasks that run on it"})
    tasks = fields.List(fields.Nested(NodeTask), metadata={"description": "At most 100, the oldest first"})


class QueueAnswer(Answer):
    """A queue with its numbers of tasks and nodes."""

    name = fields.String()
    waiting = fields.Integer(metadata={"description": "PENDING and SCHEDULED tasks"})
    running = fields.Integer(metadata={"description": "RUNNING tasks"})
    subscribers = fields.Integer(metadata={"description": "Nodes that serve it: LIVE and not held"})


class Status(Answer):
    """Status of the API, or the result of a request."""

    status = fields.String()
    version = fields.String()


class Ready(Answer):
    """Readiness: UNSERVED when a queue has waiting tasks and no node that serves it, HELD when a node is held."""

    status = fields.String(metadata={"enum": ["READY", "HELD", "UNSERVED"]})
    unserved = fields.List(
        fields.String(), metadata={"description": "Queues with waiting tasks that no node serves"}
    )
    nodes = fields.Integer(metadata={"description": "Number of nodes that claim tasks"})
    held = fields.List(fields.Nested(HeldNode), metadata={"description": "Nodes that claim nothing for now"})


class ProblemEntry(Answer):
    """Problem in a request, with its place."""

    path = fields.String()
    line = fields.Integer()
    column = fields.Integer()
    message = fields.String()
    hint = fields.String()


class Problem(Answer):
    """Error answer (application/problem+json, RFC 9457)."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    errors = fields.List(fields.Nested(ProblemEntry))


def task(row: Task, attempts: Iterable[Attempt], links: Sequence[Link], waiting: Json | None = None) -> Json:
    """Return what TaskAnswer reads: the spec, the row over it, the attempts, the links of all runs, why it waits."""
    past = [link for link in links if link.run != row.run]
    return {
        **row.spec,
        **vars(row),
        "retry": {"limit": 0, **row.spec.get("retry", {}), "attempts": row.attempt - 1},
        "attempts": [
            {**vars(attempt), "links": [link for link in past if link.attempt == attempt.attempt]}
            for attempt in attempts
        ],
        "links": [link for link in links if link.run == row.run],
        "waiting": waiting,
    }


def job(row: Job, waiting: Json | None = None) -> Json:
    """Return what JobSummary reads: the row, and why it waits."""
    return {**vars(row), "waiting": waiting}


def event(row: Event) -> Json:
    """Return the data of an event's message."""
    values = {
        "cursor": row.cursor,
        "time": rfc3339(row.time),
        "jobId": row.job_id,
        "taskId": row.task_id,
        "attempt": row.attempt,
        "delivery": row.delivery,
        "kind": row.kind,
        "from": row.from_state,
        "to": row.to_state,
        "node": row.node,
        "author": row.author,
        "reason": row.reason,
    }
    return {name: value for name, value in values.items() if value is not None}


def page(items: Sequence[Any], number: int, size: int, total: int) -> Json:
    """Return what a page's schema reads; `number` counts from 1."""
    pages = -(-total // size)
    return {"items": items, "number": number, "size": size, "total_pages": pages, "total_items": total}
