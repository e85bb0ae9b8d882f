"""What the first page shows: what needs somebody, the jobs, the queues and the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api import queues
from api.answers import Json
from api.context import ApiContext
from api.dashboard import badges
from api.dashboard.badges import Badge
from api.dashboard.chain_rows import label, present_link
from engine.model.records import Job, Link, Node, Task
from engine.model.states import JobState, NodeState, TaskState
from engine.store import jobs, links, nodes, tasks
from engine.store.database import Connection

LIVE = (JobState.RUNNING, JobState.PENDING)
ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)
#: Live jobs on the first page, and jobs on a page of those that ended.
MOST_LIVE, PAGE_SIZE = 50, 25
#: Nodes that ended are shown for this long, and failures need somebody for this long.
_NODE_MS, _FAILURE_MS = 3_600_000, 86_400_000


@dataclass(frozen=True)
class Asked:
    """Which jobs are looked for."""

    page: int = 1
    q: str = ""
    state: JobState | None = None


@dataclass(frozen=True)
class JobRow:
    """A job with what it does now, or why it ended as it did."""

    job: Job
    badge: Badge
    marks: tuple[Badge, ...]
    now: str
    #: Tone of `now`.
    tone: str
    #: Its only task: the row leads there.
    task_id: str | None


@dataclass(frozen=True)
class Group:
    """Jobs under one heading."""

    name: str
    rows: tuple[JobRow, ...]
    total: int


@dataclass(frozen=True)
class Need:
    """Something that nobody will mend but a person."""

    badge: Badge
    head: str
    rest: str
    since: int
    task_id: str | None = None
    job_id: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Summary:
    """All of the first page but the jobs."""

    needs: tuple[Need, ...]
    counts: dict[str, int]
    queues: tuple[Json, ...]
    nodes: tuple[tuple[Node, Badge], ...]
    now: int

    @property
    def total(self) -> int:
        """Jobs in all."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class JobList:
    """The jobs that were asked for."""

    groups: tuple[Group, ...]
    pages: int
    now: int


def summary(context: ApiContext) -> Summary:
    """Counts, queues, nodes, and what needs somebody, worst first."""
    figures = queues.find(context)
    with context.db.read() as c:
        now, known, counted = tasks.now(c), nodes.recent(c), jobs.counts(c)
        failed, _ = jobs.in_states(c, (JobState.FAILED,), 1, 3)
        its = {task.job_id: task.id for task in tasks.summaries(c, [job.id for job in failed])}
    shown = [node for node in known if not _ended(node) or now - node.seen_at < _NODE_MS]
    needs = [*_stuck(figures, now), *_silent(shown), *_failures(failed, its, now)]
    return Summary(
        tuple(needs),
        {state: counted.get(state, 0) for state in (*LIVE, *ENDED)},
        tuple(figures),
        tuple((node, badges.of_node(node)) for node in shown[:50]),
        now,
    )


def job_list(context: ApiContext, asked: Asked) -> JobList:
    """Live jobs first (on page 1), then a page of those that ended; or those in one state."""
    unserved = _unserved(context)
    with context.db.read() as c:
        now = tasks.now(c)
        groups = []
        if asked.state is None and asked.page == 1:
            found, total = jobs.in_states(c, LIVE, 1, MOST_LIVE, asked.q)
            groups.append(Group("Live", _rows(c, found, unserved, now), total))
        states = ENDED if asked.state is None else (asked.state,)
        found, total = jobs.in_states(c, states, asked.page, PAGE_SIZE, asked.q)
        name = "Ended" if asked.state is None else badges.STATES[asked.state].word
        groups.append(Group(name, _rows(c, found, unserved, now), total))
    return JobList(tuple(groups), max(1, -(-total // PAGE_SIZE)), now)


def rows(context: ApiContext, ids: Sequence[str], *, newest: bool = False) -> JobList:
    """These jobs again; with `newest`, also those that a first page would hold now."""
    unserved = _unserved(context)
    with context.db.read() as c:
        now = tasks.now(c)
        also = jobs.page(c, 1, PAGE_SIZE)[0] if newest else []
        wanted = {job.id: job for job in (*also, *jobs.of_ids(c, ids))}
        found = _rows(c, list(wanted.values()), unserved, now)
    return JobList((Group("", found, len(found)),), 1, now)


def _unserved(context: ApiContext) -> frozenset[str]:
    return frozenset(queue["name"] for queue in queues.find(context) if not queue["subscribers"])


def _rows(c: Connection, found: Sequence[Job], unserved: frozenset[str], now: int) -> tuple[JobRow, ...]:
    its = tasks.summaries(c, [job.id for job in found])
    ran = links.of_tasks(c, [task.id for task in its if task.state is TaskState.RUNNING])
    return tuple(
        _row(job, [task for task in its if task.job_id == job.id], ran, unserved, now) for job in found
    )


def _row(job: Job, its: Sequence[Task], ran: Sequence[Link], unserved: frozenset[str], now: int) -> JobRow:
    at = next((task for task in its if not task.state.ended), its[-1] if its else None)
    if at is None:
        return JobRow(job, badges.of_state(job.state), (), job.error or "", "failed", None)
    stuck = at.queue in unserved and not job.state.ended
    does, tone = _now(job, at, [link for link in ran if link.task_id == at.id], stuck, now)
    only = at.id if len(its) == 1 else None
    return JobRow(job, badges.of_state(job.state, unserved=stuck), badges.marks(at), does, tone, only)


def _now(job: Job, task: Task, ran: Sequence[Link], stuck: bool, now: int) -> tuple[str, str]:
    """What it does, or why it is as it is; the usual gets a blank."""
    if job.state.ended:
        return (job.error or task.error or "", "failed") if job.state is JobState.FAILED else ("", "idle")
    if task.state is TaskState.RUNNING:
        link = present_link(task, ran)
        return (label(link, ran) if link else "", "idle")
    if stuck:
        return f"no worker on {task.queue}", "warn"
    if task.not_before > now:
        return "waits for its next attempt", "idle"
    waits = "waits for a worker" if task.state is TaskState.SCHEDULED else "to be sent"
    return f"{waits}, queue {task.queue}", "idle"


def _ended(node: Node) -> bool:
    return node.state in (NodeState.LEFT, NodeState.LAPSED)


def _stuck(figures: Sequence[Json], now: int) -> list[Need]:
    return [
        Need(
            Badge("", "scheduled", "warn"),
            f"Queue {queue['name']} has no worker.",
            f"{queue['waiting']} {'task waits' if queue['waiting'] == 1 else 'tasks wait'} and nothing will take"
            f" {'it' if queue['waiting'] == 1 else 'them'}.",
            now,
            command=f"celery -A engine worker -Q {queue['name']}",
        )
        for queue in figures
        if queue["waiting"] and not queue["subscribers"]
    ]


def _silent(shown: Sequence[Node]) -> list[Need]:
    return [
        Need(
            Badge("", "warning", "failed"),
            f"Docker does not answer {node.name}.",
            f"It starts nothing until it does; look at the daemon on {node.host}.",
            node.seen_at,
            command="ferryman doctor",
        )
        for node in shown
        if node.state is NodeState.LIVE and not node.runtime_ok
    ]


def _failures(failed: Sequence[Job], its: dict[str, str], now: int) -> list[Need]:
    return [
        Need(
            Badge("", "failed", "failed"),
            job.name,
            f"failed: {job.error or 'no reason kept'}",
            job.ended_at,
            task_id=its.get(job.id),
            job_id=job.id,
        )
        for job in failed
        if job.ended_at and now - job.ended_at < _FAILURE_MS
    ]
