"""What the page of one task, or of one job, shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from api import queues
from api.context import ApiContext
from api.dashboard import badges
from api.dashboard.badges import Badge
from api.dashboard.chain_rows import LogRow, label, log_rows, place
from engine.errors import NotFound
from engine.jobspec import schema
from engine.model.records import Attempt, Event, Job, Link, Node, Task
from engine.model.states import LinkState, TaskState
from engine.store import attempts, events, jobs, links, log_lines, logs, nodes, tasks
from engine.store.database import Connection

#: Frames of the log that come with the page; scripts follow from there.
LOG_FRAMES = 200
MOST_EVENTS = 500
_FAILURE_LINES = 6
_MOST_SPEC = 20_000


@dataclass(frozen=True)
class LinkRow:
    """A link with how it looks and where it stands in the chain."""

    link: Link
    badge: Badge
    place: str


@dataclass(frozen=True)
class AttemptRow:
    """A try of the chain; `past` are links of its earlier runs."""

    attempt: Attempt
    badge: Badge
    past: tuple[LinkRow, ...]


@dataclass(frozen=True)
class TaskShown:
    """A task with all that became of it."""

    task: Task
    job: Job
    badge: Badge
    marks: tuple[Badge, ...]
    links: tuple[LinkRow, ...]
    attempts: tuple[AttemptRow, ...]
    events: tuple[Event, ...]
    nodes: dict[str, Node]
    #: Tries in all that its policy allows.
    most_attempts: int
    #: The queue waits and nobody serves it.
    stuck: bool
    #: The first link that ended badly, and the last lines that it wrote.
    culprit: LinkRow | None
    last_lines: tuple[LogRow, ...]
    #: What stands over the lines of each link in the log.
    names: tuple[str, ...]
    now: int

    @property
    def lapsed_node(self) -> bool:
        """Its node is silent: its work is being taken over or started again."""
        node = self.nodes.get(self.task.node or "")
        return self.task.state is TaskState.RUNNING and node is not None and node.state in tasks.GONE


@dataclass(frozen=True)
class LogShown:
    """The end of a task's log."""

    rows: tuple[LogRow, ...]
    #: Frames that were written, and bytes of them that are not kept.
    lines: int
    cut_bytes: int
    #: The last frame that is shown.
    last: int


@dataclass(frozen=True)
class JobShown:
    """A job with its tasks."""

    job: Job
    badge: Badge
    tasks: tuple[tuple[Task, Badge, tuple[Badge, ...]], ...]
    events: tuple[Event, ...]
    nodes: dict[str, Node]
    now: int


def task_shown(context: ApiContext, id: str) -> TaskShown:
    """The task, by a whole or shortened id. Raises NotFound, Ambiguous."""
    served = {queue["name"] for queue in queues.find(context) if queue["subscribers"]}
    with context.db.read() as c:
        task, job = _task(c, id)
        ran, tried = links.of_tasks(c, [task.id]), attempts.of_tasks(c, [task.id])
        run = [link for link in ran if (link.attempt, link.origin) == (task.attempt, task.origin)]
        rows = _link_rows(run, task)
        culprit = next((row for row in rows if row.badge.tone == "failed"), None)
        failed = culprit if task.state is TaskState.FAILED else None
        waiting = task.state in (TaskState.PENDING, TaskState.SCHEDULED)
        return TaskShown(
            task,
            job,
            badges.of_state(task.state, unserved=waiting and task.queue not in served),
            badges.marks(task),
            rows,
            tuple(_attempt_row(one, task, ran) for one in reversed(tried)),
            _events(c, task_id=task.id, settled=task.state.ended),
            _nodes(c),
            schema.load(task.spec).retry.limit + 1,
            waiting and task.queue not in served,
            failed,
            _last_lines(c, failed.link) if failed else (),
            _names(task, run or ran),
            tasks.now(c),
        )


def log_shown(context: ApiContext, shown: TaskShown) -> LogShown:
    """The end of its log."""
    with context.db.read() as c:
        found, head = log_lines.last(c, shown.task.id, LOG_FRAMES), logs.head(c, shown.task.id)
    last = found[-1].number if found else 0
    return LogShown(tuple(log_rows(found, shown.names)), head.lines, head.cut_bytes, last)


def job_shown(context: ApiContext, id: str) -> JobShown:
    """The job, by its id or that of one of its tasks. Raises NotFound, Ambiguous."""
    with context.db.read() as c:
        job = jobs.get(c, jobs.resolve(c, id).job_id)
        if job is None:
            raise NotFound("job", id)
        its = tuple(
            (task, badges.of_state(task.state), badges.marks(task)) for task in tasks.summaries(c, [job.id])
        )
        happened = _events(c, job_id=job.id, settled=job.state.ended)
        return JobShown(job, badges.of_state(job.state), its, happened, _nodes(c), tasks.now(c))


def spec_text(task: Task) -> str:
    """What was asked for, as YAML; a long one is cut."""
    text = yaml.safe_dump(dict(task.spec), sort_keys=False, allow_unicode=True, width=100)
    return text if len(text) <= _MOST_SPEC else f"{text[:_MOST_SPEC]}\n… GET /tasks/{task.id} has the whole"


def _task(c: Connection, id: str) -> tuple[Task, Job]:
    ids = jobs.resolve(c, id)
    task = None if ids.task_id is None else tasks.get(c, ids.task_id)
    job = jobs.get(c, ids.job_id)
    if task is None or job is None:
        raise NotFound("task", id)
    return task, job


def _link_rows(run: Sequence[Link], task: Task) -> tuple[LinkRow, ...]:
    return tuple(LinkRow(link, badges.of_link(link, task), place(link, run)) for link in run)


def _attempt_row(attempt: Attempt, task: Task, ran: Sequence[Link]) -> AttemptRow:
    past = [
        link
        for link in ran
        if link.attempt == attempt.attempt and (link.attempt, link.origin) != (task.attempt, task.origin)
    ]
    return AttemptRow(attempt, badges.of_state(attempt.state), _past_rows(past, task))


def _past_rows(past: Sequence[Link], task: Task) -> tuple[LinkRow, ...]:
    return tuple(
        LinkRow(link, badges.of_link(link, task), place(link, [x for x in past if x.origin == link.origin]))
        for link in past
    )


def _events(c: Connection, *, settled: bool, **of: Any) -> tuple[Event, ...]:
    """Newest first; a thing with more events shows its first ones only."""
    return tuple(reversed(events.after(c, None, limit=MOST_EVENTS, settled=settled, **of)))


def _nodes(c: Connection) -> dict[str, Node]:
    return {node.id: node for node in nodes.recent(c)}


def _names(task: Task, run: Sequence[Link]) -> tuple[str, ...]:
    first = [link for link in run if (link.attempt, link.origin) == (run[0].attempt, run[0].origin)]
    if first:
        return tuple(label(link, first) for link in first)
    return tuple(_asked_names(task))


def _asked_names(task: Task) -> list[str]:
    """Before the first claim there are no links: what they will be called."""
    names, counted = [], {"pre": 0, "post": 0}
    for kind, link in schema.load(task.spec).links:
        where = kind if kind == "main" else f"{kind} {counted[kind]}"
        if kind != "main":
            counted[kind] += 1
        names.append(f"{where}, {link.name}" if link.name and kind != "main" else where)
    return names


def _last_lines(c: Connection, link: Link) -> tuple[LogRow, ...]:
    if link.state is not LinkState.ENDED:
        return ()
    its = [
        line
        for line in log_lines.last(c, link.task_id, LOG_FRAMES)
        if (line.attempt, line.origin, line.link) == (link.attempt, link.origin, link.index)
        and line.frame[0] != 0
    ]
    return tuple(row for row in log_rows(its, ()) if row.stream is not None and row.text)[-_FAILURE_LINES:]
