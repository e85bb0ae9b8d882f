"""Rows as frozen values. Times are in milliseconds since 1970, UTC, by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from engine.model.states import HoldKind, JobState, LinkState, NodeState, TaskState


@dataclass(frozen=True)
class Caller:
    """Author of a change: the user, the node or the process that asks a verb for it."""

    kind: Literal["user", "node", "reconciler", "flusher"]
    #: The user's name, the node's id, or the host of a process that repairs or sends.
    name: str

    @property
    def node_id(self) -> str:
        """Id of the calling node. Raises TypeError when the caller is not a node."""
        if self.kind != "node":
            raise TypeError(f"{self} is not a node")
        return self.name

    def __str__(self) -> str:
        """Return the caller as events store it: `user:anonymous`."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Token:
    """Proof of a writer's right to change a task: the attempt and delivery for which it acts."""

    task_id: str
    attempt: int
    delivery: int


class RunKey(NamedTuple):
    """Key of one run of a task's chain; of two runs of a task, the larger key is the newer run."""

    task_id: str
    attempt: int
    #: Delivery whose claim began the run; 0 before the first claim.
    origin: int


@dataclass(frozen=True)
class Job:
    """Job as submitted by a user. A new job has the defaults."""

    id: str
    name: str
    description: str | None
    tags: tuple[str, ...]
    state: JobState = JobState.PENDING
    #: 0 until the database has inserted the row.
    created_at: int = 0
    #: Claim of the first task.
    started_at: int | None = None
    ended_at: int | None = None
    #: Result of the last task of a COMPLETED job.
    result: str | None = None
    #: Error of the first failed task.
    error: str | None = None
    #: Number of tasks in the job file's list; the children of parallel, each and subjob are not counted.
    task_count: int = 1


class PlannedLink(NamedTuple):
    """Link of a task's chain, as far as it is known before its container."""

    #: pre, main or post.
    kind: str
    #: Name from the job file, else the kind.
    name: str
    image: str
    #: True for a post that also runs after a failed link.
    always: bool


class Refusal(NamedTuple):
    """Failure of a machine, not of the task, to begin a link."""

    at: int
    #: Name of the node.
    node: str
    #: Index of the link.
    link: int
    #: In the daemon's words, or the system's.
    reason: str


@dataclass(frozen=True)
class Task:
    """Unit of work of a job. A new task has the defaults."""

    id: str
    job_id: str
    #: Place in the job, counted from 1.
    position: int
    name: str
    queue: str
    #: 0 to 9; the highest goes first.
    priority: int
    #: Task as the user wrote it; `engine.jobspec.stored.load` makes a TaskSpec of it.
    spec: Mapping[str, Any]
    #: Time-out of an attempt; None for none.
    timeout_ms: int | None
    #: Links of the chain, in order: dispatch needs no spec.
    plan: tuple[PlannedLink, ...] = ()
    state: TaskState = TaskState.PENDING
    #: Earliest time to send the task, the end of a retry's delay. 0 until the row is inserted.
    not_before: int = 0
    #: Number of the try of the whole chain, from 1; a retry raises it.
    attempt: int = 1
    #: Fencing number, from 1; raised whenever another owner or message may act for the task.
    delivery: int = 1
    #: Delivery whose claim began the current run of the chain; 0 before the first claim.
    origin: int = 0
    #: Id of the node that runs the task, None while no node does.
    node: str | None = None
    #: Time at which the current owner got the task.
    held_since: int | None = None
    #: Crashes of owners in a row; at the setting's maximum the task fails.
    crashes: int = 0
    #: 0 until the row is inserted.
    created_at: int = 0
    #: Time of the last message for the task.
    sent_at: int | None = None
    #: Messages since the task last became PENDING.
    sends: int = 0
    #: First claim.
    started_at: int | None = None
    ended_at: int | None = None
    #: Exit code of the link that failed the task, 0 for a COMPLETED one.
    exit_code: int | None = None
    #: Output of the main link, kept from its end on.
    result: str | None = None
    #: Reason of a FAILED task, in words for its owner.
    error: str | None = None
    #: Machines that could not begin a link of this attempt, the oldest first; () once that link has run.
    refusals: tuple[Refusal, ...] = ()

    @property
    def token(self) -> Token:
        """Token that a writer needs now."""
        return Token(self.id, self.attempt, self.delivery)

    @property
    def run(self) -> RunKey:
        """Key of the current run of the chain."""
        return RunKey(self.id, self.attempt, self.origin)


@dataclass(frozen=True)
class Attempt:
    """Try of the whole chain."""

    task_id: str
    #: Number of the attempt, from 1.
    attempt: int
    #: RUNNING or an ended state.
    state: TaskState
    #: Last node that ran the attempt.
    node: str | None
    #: Name of the sandbox; None without a sandbox.
    sandbox: str | None
    #: First claim; the time-out counts from here.
    started_at: int
    ended_at: int | None
    exit_code: int | None
    error: str | None


@dataclass(frozen=True)
class Link:
    """Container of a run of the chain."""

    task_id: str
    attempt: int
    #: Delivery whose claim began the run.
    origin: int
    #: Place in the chain, from 0.
    index: int
    #: pre, main or post.
    kind: str
    #: Name from the job file, else the kind.
    name: str
    image: str
    #: True for a post that also runs after a failed link.
    always: bool
    state: LinkState
    #: Docker's id of the container, from its confirmation on.
    container_id: str | None
    #: Delivery that confirmed the container.
    confirmed_by: int | None
    #: None until the end, and where no container could be made or its end is unknown.
    exit_code: int | None
    #: Reason why the link failed, in words for the task's owner.
    error: str | None
    #: Confirmation of the container.
    started_at: int | None
    ended_at: int | None
    #: Span -> milliseconds (see engine/runtime/timings.py); None before the end, and where nobody measured.
    timings: Mapping[str, int] | None = None

    @property
    def run(self) -> RunKey:
        """Key of the run that the link belongs to."""
        return RunKey(self.task_id, self.attempt, self.origin)


@dataclass(frozen=True)
class AttemptStatus:
    """Status of a running attempt at this moment."""

    #: Milliseconds since the start of the attempt.
    age_ms: int = 0
    #: Name of the sandbox; None without a sandbox.
    sandbox: str | None = None
    #: Time by the database's clock.
    now: int = 0


class Hold(NamedTuple):
    """Reason why a node claims nothing for now."""

    kind: HoldKind
    #: In words for an operator.
    reason: str
    since: int


@dataclass(frozen=True)
class Node:
    """Running Celery worker process."""

    id: str
    #: Celery's name of the worker, as `celery status` shows it.
    name: str
    #: Name of the worker's host.
    host: str
    state: NodeState
    #: Counter that the node raises each second; others watch whether it moves, so no clocks are compared.
    beat: int
    #: False while the runtime (Docker) does not answer the node.
    runtime_ok: bool
    #: Highest lapse number that the node had read before it last listed its daemon and took over what it found.
    looked: int
    #: Number of this node's lapse, None before; lapses are counted per installation.
    lapse_no: int | None
    queues: tuple[str, ...]
    #: Links that the node runs at the same time.
    slots: int
    #: Version and kind of the daemon, for people only: no guard reads it.
    daemon: str | None
    started_at: int
    #: Time of the last beat, for people only: no guard reads it.
    seen_at: int
    #: Reasons why the node claims nothing for now, one for each kind; no guard reads them.
    holds: tuple[Hold, ...] = ()

    @property
    def serves(self) -> bool:
        """Return whether the node claims tasks: it is LIVE, its runtime answers, and nothing holds it."""
        return self.state is NodeState.LIVE and self.runtime_ok and not self.holds


@dataclass(frozen=True)
class Event:
    """Record of a change of a job, task, link or node, or of a repair."""

    #: Position in the order of the commits; a reader continues after it.
    cursor: str
    time: int
    job_id: str | None
    task_id: str | None
    attempt: int | None
    delivery: int | None
    #: job, task, link, node, repair, late or note.
    kind: str
    from_state: str | None
    to_state: str | None
    #: Id of the node.
    node: str | None
    #: Author of the change, as `kind:name` of the verb's caller.
    author: str
    #: Reason in words for people.
    reason: str | None


class LogFrame(NamedTuple):
    """Piece of output: a line, or a part of a long one.

    A tuple because there are millions: a frozen dataclass takes four times as long to create.
    """

    #: 1 for standard output, 2 for standard error.
    stream: int
    #: Docker's timestamp (RFC 3339, nanoseconds).
    stamp: str
    data: bytes


@dataclass(frozen=True)
class StreamPosition:
    """End of the stored part of one stream: the last frame's timestamp, and how many stored frames have it."""

    stamp: str = ""
    frames: int = 0


@dataclass(frozen=True)
class LogPosition:
    """End of the stored part of a container's log, for each stream: one timestamp for both would lose lines."""

    stdout: StreamPosition = StreamPosition()
    stderr: StreamPosition = StreamPosition()

    def after(self, frames: Sequence[LogFrame]) -> LogPosition:
        """Return the position behind these frames, which must be in order."""
        return LogPosition(_moved(self.stdout, 1, frames), _moved(self.stderr, 2, frames))


def _moved(old: StreamPosition, stream: int, frames: Sequence[LogFrame]) -> StreamPosition:
    last, count = None, 0
    # From the end: only the frames with the last timestamp count.
    for frame in reversed(frames):
        if frame.stream == stream:
            if last is not None and frame.stamp != last:
                return StreamPosition(last, count)
            last, count = frame.stamp, count + 1
    if last is None:
        return old
    return StreamPosition(last, old.frames + count if last == old.stamp else count)
