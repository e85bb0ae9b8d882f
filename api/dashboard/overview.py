"""Content of the first page: alerts, jobs, queues and nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from api import queues
from api.answers import Json
from api.context import ApiContext
from api.dashboard import badges
from api.dashboard.badges import Badge
from engine.model.records import Job, Link, Node, Task
from engine.model.states import JobState, LinkState, NodeState, TaskState
from engine.store import jobs, links, nodes, tasks
from engine.store.database import Connection
from engine.wording.links import link_title

LIVE = (JobState.RUNNING, JobState.PENDING)
ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)
#: Most live jobs on the first page, and ended jobs on each page.
MOST_LIVE, PAGE_SIZE = 50, 25
#: Ended nodes are shown for this long, and alerts of failed jobs.
_NODE_MS, _FAILURE_MS = 3_600_000, 86_400_000


@dataclass(frozen=True)
class JobQuery:
    """Jobs that a reader wants to see: page, words, state."""

    page: int = 1
    q: str = ""
    state: JobState | None = None


@dataclass(frozen=True)
class JobRow:
    """A job with its present activity, or the reason of its end."""

    job: Job
    badge: Badge
    marks: tuple[Badge, ...]
    activity: str
    #: Tone of `activity`.
    tone: str
    #: The only task of the job, to which the row links.
    task_id: str | None


@dataclass(frozen=True)
class JobGroup:
    """Jobs under one heading."""

    name: str
    rows: tuple[JobRow, ...]
    total: int


@dataclass(frozen=True)
class Alert:
    """A problem that only a person can solve."""

    badge: Badge
    title: str
    detail: str
    since: int
    task_id: str | None = None
    job_id: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Summary:
    """Content of the first page except the jobs."""

    alerts: tuple[Alert, ...]
    counts: dict[str, int]
    queues: tuple[Json, ...]
    nodes: tuple[tuple[Node, Badge], ...]
    now: int

    @property
    def total(self) -> int:
        """Number of all jobs."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class JobList:
    """Jobs that a query selects."""

    groups: tuple[JobGroup, ...]
    pages: int
    now: int


def summary(context: ApiContext) -> Summary:
    """Return counts, queues, nodes and alerts, the most serious alerts first."""
    with context.installation.db.read() as c:
        queue_counts = queues.counts(context, c, nodes.beating(c))
        now, recent_nodes, job_counts = tasks.now(c), nodes.recent(c), jobs.counts(c)
        failed, _ = jobs.page(c, 1, 3, states=(JobState.FAILED,))
        task_ids = {task.job_id: task.id for task in tasks.summaries(c, [job.id for job in failed])}
    shown = [node for node in recent_nodes if not node.state.is_gone or now - node.seen_at < _NODE_MS]
    alerts = [
        *_unserved_queues(queue_counts, now),
        *_silent_daemons(shown),
        *_held_nodes(shown),
        *_failures(failed, task_ids, now),
    ]
    return Summary(
        tuple(alerts),
        {state: job_counts.get(state, 0) for state in (*LIVE, *ENDED)},
        tuple(queue_counts),
        tuple((node, badges.of_node(node)) for node in shown[:50]),
        now,
    )


def job_list(context: ApiContext, query: JobQuery) -> JobList:
    """Return the live jobs (on page 1) and a page of the ended jobs, or a page of the jobs in one state."""
    with context.installation.db.read() as c:
        now, served = tasks.now(c), queues.served(nodes.beating(c))
        groups = []
        if query.state is None and query.page == 1:
            live, total = jobs.page(c, 1, MOST_LIVE, query.q, LIVE)
            groups.append(JobGroup("Live", _rows(c, live, served, now), total))
        states = ENDED if query.state is None else (query.state,)
        matching, total = jobs.page(c, query.page, PAGE_SIZE, query.q, states)
        name = "Ended" if query.state is None else badges.STATES[query.state].word
        groups.append(JobGroup(name, _rows(c, matching, served, now), total))
    return JobList(tuple(groups), max(1, -(-total // PAGE_SIZE)), now)


def rows(context: ApiContext, ids: Sequence[str], *, newest: bool = False) -> JobList:
    """Return the rows of these jobs; with `newest` also the newest jobs."""
    with context.installation.db.read() as c:
        now, served = tasks.now(c), queues.served(nodes.beating(c))
        also = jobs.page(c, 1, PAGE_SIZE)[0] if newest else []
        wanted = {job.id: job for job in (*also, *jobs.of_ids(c, ids))}
        job_rows = _rows(c, list(wanted.values()), served, now)
    return JobList((JobGroup("", job_rows, len(job_rows)),), 1, now)


def _rows(c: Connection, listed: Sequence[Job], served: Collection[str], now: int) -> tuple[JobRow, ...]:
    all_tasks = tasks.summaries(c, [job.id for job in listed])
    all_links = links.of_tasks(c, [task.id for task in all_tasks if task.state is TaskState.RUNNING])
    return tuple(
        _row(job, [task for task in all_tasks if task.job_id == job.id], all_links, served, now)
        for job in listed
    )


def _row(
    job: Job, of_job: Sequence[Task], all_links: Sequence[Link], served: Collection[str], now: int
) -> JobRow:
    task = next((task for task in of_job if not task.state.ended), of_job[-1] if of_job else None)
    if task is None:
        return JobRow(job, badges.of_state(job.state), (), job.error or "", "failed", None)
    stuck = task.queue not in served and not job.state.ended
    activity, tone = _activity(job, task, [link for link in all_links if link.task_id == task.id], stuck, now)
    badge = badges.of_state(job.state, unserved=stuck)
    return JobRow(job, badge, badges.marks(task), activity, tone, task.id if len(of_job) == 1 else None)


def _activity(job: Job, task: Task, of_task: Sequence[Link], stuck: bool, now: int) -> tuple[str, str]:
    """Return what the job does now, or the reason of its failure, with the tone of this text."""
    if job.state.ended:
        return (job.error or task.error or "", "failed") if job.state is JobState.FAILED else ("", "idle")
    if task.state is TaskState.RUNNING:
        link = _present_link(task, of_task)
        return (link_title(link.kind, link.name, link.index) if link else "", "idle")
    if stuck:
        return f"no worker serves queue {task.queue}", "warn"
    if task.not_before > now:
        return "waiting for its next attempt", "idle"
    if task.state is TaskState.SCHEDULED:
        return f"waiting for a worker, queue {task.queue}", "idle"
    return f"about to be sent to queue {task.queue}", "idle"


def _present_link(task: Task, of_task: Sequence[Link]) -> Link | None:
    """Return the link that runs now, or is next."""
    run = [link for link in of_task if link.run == task.run]
    return next((link for link in run if link.state in (LinkState.CONFIRMED, LinkState.WAITING)), None)


def _unserved_queues(queue_counts: Sequence[Json], now: int) -> list[Alert]:
    return [
        Alert(
            Badge("", "scheduled", "warn"),
            f"No worker serves queue {queue['name']}.",
            f"{queue['waiting']} {'task waits' if queue['waiting'] == 1 else 'tasks wait'} for one.",
            now,
            command=f"celery -A engine worker -Q {queue['name']}",
        )
        for queue in queue_counts
        if queue["waiting"] and not queue["subscribers"]
    ]


def _silent_daemons(shown: Sequence[Node]) -> list[Alert]:
    return [
        Alert(
            Badge("", "warning", "failed"),
            f"Docker does not answer on {node.name}.",
            f"This node starts no task until it does. Check the daemon on {node.host}.",
            node.seen_at,
            command="ferryman doctor",
        )
        for node in shown
        if node.state is NodeState.LIVE and not node.runtime_ok
    ]


def _held_nodes(shown: Sequence[Node]) -> list[Alert]:
    return [
        Alert(
            Badge("", "warning", "failed"),
            f"{node.name} is held: {held.kind}.",
            f"It starts no task until this works again: {held.reason}",
            held.since,
        )
        for node in shown
        if not node.state.is_gone
        for held in node.holds
    ]


def _failures(failed: Sequence[Job], task_ids: dict[str, str], now: int) -> list[Alert]:
    return [
        Alert(
            Badge("", "failed", "failed"),
            job.name,
            f"failed: {job.error or 'no reason was stored'}",
            job.ended_at,
            task_id=task_ids.get(job.id),
            job_id=job.id,
        )
        for job in failed
        if job.ended_at and now - job.ended_at < _FAILURE_MS
    ]
