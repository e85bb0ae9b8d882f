"""The rows as frozen values. Every time is in milliseconds since 1970, UTC, by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from engine.model.states import JobState, LinkState, NodeState, TaskState


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
    """What a writer must show: the task with the attempt and the delivery that it speaks for."""

    task_id: str
    attempt: int
    delivery: int


class RunKey(NamedTuple):
    """Key of one run of a task's chain; of two runs of a task, the larger key is the newer run."""

    task_id: str
    attempt: int
    #: The delivery in which the run was claimed; 0 before the first claim.
    origin: int


@dataclass(frozen=True)
class Job:
    """What a user submitted."""

    id: str
    name: str
    description: str | None
    state: JobState
    tags: tuple[str, ...]
    created_at: int
    started_at: int | None
    ended_at: int | None
    result: str | None
    error: str | None


@dataclass(frozen=True)
class Task:
    """One unit of work, with the token that guards it."""

    id: str
    job_id: str
    position: int
    name: str
    queue: str
    priority: int
    state: TaskState
    #: What the user asked for, camelCase (jobspec.schema.load reads it back).
    spec: Mapping[str, Any]
    #: Not sent before this time: a retry's delay.
    not_before: int
    attempt: int
    delivery: int
    #: The delivery in which the present run of the chain was claimed; 0 before the first claim.
    origin: int
    node: str | None
    #: When the present owner got it.
    held_since: int | None
    crashes: int
    created_at: int
    #: When the last message for it was sent, and how many were since it last became PENDING anew.
    sent_at: int | None
    sends: int
    started_at: int | None
    ended_at: int | None
    exit_code: int | None
    result: str | None
    error: str | None

    @property
    def token(self) -> Token:
        """What a writer must show now."""
        return Token(self.id, self.attempt, self.delivery)

    @property
    def run(self) -> RunKey:
        """Key of the present run of the chain."""
        return RunKey(self.id, self.attempt, self.origin)


@dataclass(frozen=True)
class Attempt:
    """One try of the whole chain: a record, no guard reads it."""

    task_id: str
    attempt: int
    state: TaskState
    node: str | None
    #: The sandbox's name, None: the plain way.
    sandbox: str | None
    started_at: int
    ended_at: int | None
    exit_code: int | None
    error: str | None


@dataclass(frozen=True)
class Link:
    """One container of a run of the chain."""

    task_id: str
    attempt: int
    origin: int
    index: int
    kind: str
    name: str
    image: str
    #: A post that runs although a link before it failed.
    always: bool
    state: LinkState
    container_id: str | None
    confirmed_by: int | None
    exit_code: int | None
    error: str | None
    started_at: int | None
    ended_at: int | None
    #: Step -> milliseconds (engine.runtime.timings); None before its end, and where nobody saw it.
    timings: Mapping[str, int] | None = None


@dataclass(frozen=True)
class AttemptStatus:
    """How an attempt stands at this moment."""

    #: Milliseconds since its start.
    age_ms: int = 0
    #: The sandbox of its network, None: the plain way.
    sandbox: str | None = None
    #: The database's clock, in milliseconds since 1970.
    now: int = 0


@dataclass(frozen=True)
class Node:
    """One running Celery worker process."""

    id: str
    #: Celery's name of the worker, as `celery status` shows it.
    name: str
    host: str
    state: NodeState
    beat: int
    runtime_ok: bool
    #: The highest lapse number it had read before it last listed its daemon and took over what it found.
    looked: int
    lapse_no: int | None
    queues: tuple[str, ...]
    slots: int
    #: The daemon's version and the like, for people only: no guard reads it.
    daemon: str | None
    started_at: int
    #: When it last beat, by the database's clock: for people only.
    seen_at: int


@dataclass(frozen=True)
class Event:
    """Something that happened. `cursor` orders events as they were committed."""

    cursor: str
    time: int
    job_id: str | None
    task_id: str | None
    attempt: int | None
    delivery: int | None
    kind: str
    from_state: str | None
    to_state: str | None
    node: str | None
    #: The caller whose verb wrote it, as `kind:name`.
    author: str
    reason: str | None


class LogFrame(NamedTuple):
    """A piece of output, a line or a part of a long one, with Docker's own stamp (RFC 3339, nanoseconds).

    A tuple, since there are millions: a frozen dataclass takes four times as long to make.
    """

    #: 1 standard output, 2 standard error.
    stream: int
    stamp: str
    data: bytes


@dataclass(frozen=True)
class StreamPosition:
    """How far one stream was stored: the last frame's stamp, and how many stored frames carry it."""

    stamp: str = ""
    frames: int = 0


@dataclass(frozen=True)
class LogPosition:
    """How far a container's log was stored, stream by stream (FINDINGS: one stamp for both loses lines)."""

    stdout: StreamPosition = StreamPosition()
    stderr: StreamPosition = StreamPosition()

    def after(self, frames: Sequence[LogFrame]) -> LogPosition:
        """The position behind these frames, which come in order."""
        return LogPosition(_moved(self.stdout, 1, frames), _moved(self.stderr, 2, frames))


def _moved(old: StreamPosition, stream: int, frames: Sequence[LogFrame]) -> StreamPosition:
    last, count = None, 0
    # From the end: what the last stamp's frames are preceded by does not count.
    for its, stamp, _ in reversed(frames):
        if its == stream:
            if last is not None and stamp != last:
                return StreamPosition(last, count)
            last, count = stamp, count + 1
    if last is None:
        return old
    return StreamPosition(last, old.frames + count if last == old.stamp else count)
