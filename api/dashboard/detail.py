"""Content of the page of one task, and of one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from api import queues
from api.context import ApiContext
from api.dashboard import badges
from api.dashboard.badges import Badge
from api.dashboard.log_rows import LogRow, log_rows
from engine.errors import NotFound
from engine.jobspec import stored
from engine.model.records import Attempt, Event, Job, Link, Node, Task
from engine.model.states import LinkState, TaskState
from engine.store import attempts, events, jobs, links, log_lines, logs, nodes, tasks
from engine.store.database import Connection
from engine.wording.links import link_title

#: Frames of the log in the page; scripts stream the rest.
LOG_FRAMES = 200
MOST_EVENTS = 500
_FAILURE_LINES = 6
_MOST_SPEC = 20_000


@dataclass(frozen=True)
class LinkRow:
    """A link with its badge and title."""

    link: Link
    badge: Badge
    title: str


@dataclass(frozen=True)
class AttemptRow:
    """An attempt with the links of its earlier runs."""

    attempt: Attempt
    badge: Badge
    past: tuple[LinkRow, ...]


@dataclass(frozen=True)
class TaskPage:
    """A task with its job, links, attempts and events."""

    task: Task
    job: Job
    badge: Badge
    marks: tuple[Badge, ...]
    links: tuple[LinkRow, ...]
    attempts: tuple[AttemptRow, ...]
    events: tuple[Event, ...]
    nodes: dict[str, Node]
    #: Number of attempts that its retry policy allows, the first one included.
    most_attempts: int
    #: The task waits in a queue that no live node serves.
    unserved: bool
    #: First link that failed, and the last lines of its log.
    failed_link: LinkRow | None
    last_lines: tuple[LogRow, ...]
    #: Heading of each link in the log.
    headings: tuple[str, ...]
    now: int

    @property
    def lapsed_node(self) -> bool:
        """Return True for a running task whose node lapsed or left: it is about to be adopted or restarted."""
        node = self.nodes.get(self.task.node or "")
        return self.task.state is TaskState.RUNNING and node is not None and node.state.is_gone


@dataclass(frozen=True)
class LogTail:
    """End of a task's log."""

    rows: tuple[LogRow, ...]
    #: Number of all frames, and of the bytes that are not kept.
    lines: int
    cut_bytes: int
    #: Number of the last frame shown.
    last: int


@dataclass(frozen=True)
class JobPage:
    """A job with its tasks and events."""

    job: Job
    badge: Badge
    tasks: tuple[tuple[Task, Badge, tuple[Badge, ...]], ...]
    events: tuple[Event, ...]
    nodes: dict[str, Node]
    now: int


def task_page(context: ApiContext, id: str) -> TaskPage:
    """Return the content of a task's page; the id may be shortened. Raises NotFound, Ambiguous."""
    with context.installation.db.read() as c:
        task, job = _task(c, id)
        all_links = links.of_tasks(c, [task.id])
        run = [link for link in all_links if link.run == task.run]
        rows = _link_rows(run, task)
        failed = next((row for row in rows if row.badge.tone == "failed"), None)
        failed = failed if task.state is TaskState.FAILED else None
        unserved = task.state.waits and task.queue not in queues.served(nodes.beating(c))
        return TaskPage(
            task,
            job,
            badges.of_state(task.state, unserved=unserved),
            badges.marks(task),
            rows,
            tuple(_attempt_row(row, task, all_links) for row in reversed(attempts.of_tasks(c, [task.id]))),
            _events(c, task_id=task.id, settled=task.state.ended),
            _nodes(c),
            stored.load(task.spec).retry.limit + 1,
            unserved,
            failed,
            _last_lines(c, failed.link) if failed else (),
            _headings(task, run or all_links),
            tasks.now(c),
        )


def log_tail(context: ApiContext, page: TaskPage) -> LogTail:
    """Return the end of the task's log."""
    with context.installation.db.read() as c:
        lines, head = log_lines.last(c, page.task.id, LOG_FRAMES), logs.head(c, page.task.id)
    last = lines[-1].number if lines else 0
    return LogTail(tuple(log_rows(lines, page.headings)), head.lines, head.missing_bytes, last)


def job_page(context: ApiContext, id: str) -> JobPage:
    """Return the content of a job's page; the id may be one of its tasks'. Raises NotFound, Ambiguous."""
    with context.installation.db.read() as c:
        job = jobs.get(c, jobs.resolve(c, id).job_id)
        if job is None:
            raise NotFound("job", id)
        rows = tuple(
            (task, badges.of_state(task.state), badges.marks(task)) for task in tasks.summaries(c, [job.id])
        )
        newest_first = _events(c, job_id=job.id, settled=job.state.ended)
        return JobPage(job, badges.of_state(job.state), rows, newest_first, _nodes(c), tasks.now(c))


def spec_text(task: Task) -> str:
    """Return the spec as YAML, shortened if it is long."""
    text = yaml.safe_dump(dict(task.spec), sort_keys=False, allow_unicode=True, width=100)
    return (
        text if len(text) <= _MOST_SPEC else f"{text[:_MOST_SPEC]}\n… GET /tasks/{task.id} returns all of it"
    )


def _task(c: Connection, id: str) -> tuple[Task, Job]:
    ids = jobs.resolve(c, id)
    task = None if ids.task_id is None else tasks.get(c, ids.task_id)
    job = jobs.get(c, ids.job_id)
    if task is None or job is None:
        raise NotFound("task", id)
    return task, job


def _link_rows(run: Sequence[Link], task: Task) -> tuple[LinkRow, ...]:
    return tuple(
        LinkRow(link, badges.of_link(link, task), link_title(link.kind, None, link.index)) for link in run
    )


def _attempt_row(attempt: Attempt, task: Task, all_links: Sequence[Link]) -> AttemptRow:
    past = [link for link in all_links if link.attempt == attempt.attempt and link.run != task.run]
    return AttemptRow(attempt, badges.of_state(attempt.state), _link_rows(past, task))


def _events(c: Connection, *, settled: bool, **of: Any) -> tuple[Event, ...]:
    """Return the first MOST_EVENTS events of a task or job, newest first."""
    return tuple(reversed(events.after(c, None, limit=MOST_EVENTS, settled=settled, **of)))


def _nodes(c: Connection) -> dict[str, Node]:
    return {node.id: node for node in nodes.recent(c)}


def _headings(task: Task, run: Sequence[Link]) -> tuple[str, ...]:
    first = [link for link in run if link.run == run[0].run]
    if first:
        return tuple(link_title(link.kind, link.name, link.index) for link in first)
    # Before the first claim no link has a row.
    return tuple(link_title(link.kind, link.name, index) for index, link in enumerate(task.plan))


def _last_lines(c: Connection, link: Link) -> tuple[LogRow, ...]:
    if link.state is not LinkState.ENDED:
        return ()
    lines = [
        line
        for line in log_lines.last(c, link.task_id, LOG_FRAMES)
        if (line.attempt, line.origin, line.link) == (link.attempt, link.origin, link.index)
        and line.frame[0] != 0
    ]
    return tuple(row for row in log_rows(lines, ()) if row.stream is not None and row.text)[-_FAILURE_LINES:]
