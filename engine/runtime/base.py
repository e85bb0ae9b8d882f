"""What every runtime promises, on one screen: prepare, go, remove, list."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from engine.jobspec.task import Mount
from engine.model.records import LogFrame, LogPosition
from engine.runtime.timings import Timings


@dataclass(frozen=True)
class Order:
    """All that a runtime needs to run one link, as committed by the claim."""

    installation: str
    job_id: str
    task_id: str
    attempt: int
    delivery: int
    origin: int
    index: int
    #: pre, main or post.
    kind: str
    #: The container's name (model.names.container).
    name: str
    image: str
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    run: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    #: missing (default) or always.
    pull: str = "missing"
    #: (volume name, target); made before link 0 only, checked before every later one.
    volumes: tuple[tuple[str, str], ...] = ()
    #: bind and tmpfs mounts; a bind is checked again here, on the host, against its real path.
    mounts: tuple[Mount, ...] = ()
    #: Docker networks to join, in order; () is the default bridge, ("none",) no network.
    networks: tuple[str, ...] = ()
    #: The sandbox whose namespace is joined; None: the plain way, a namespace of its own.
    sandbox: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    #: A link of this run ended already: its volumes must be there, or the run is lost (Gone).
    needs_volumes: bool = False


class PreparedState(StrEnum):
    """What `prepare` met: only what this call CREATED may be started, and only by its caller."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class Prepared:
    """A container that stands for the link. `order` is what it was prepared for."""

    order: Order
    container_id: str
    state: PreparedState


class Cause(StrEnum):
    """Why a link ended as it did."""

    EXITED = "exited"
    OUT_OF_MEMORY = "out of memory"
    #: Killed by us: `Control.kill` said why.
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    #: Killed by somebody else (docker kill).
    KILLED = "killed from outside"
    #: The sandbox of its network namespace died: it failed for it, or was killed since it had no network any more.
    SANDBOX_LOST = "sandbox lost"
    #: Never ran: image, command, user or mount; `message` says which.
    NOT_STARTED = "not started"


@dataclass(frozen=True)
class Outcome:
    """How a link ended. `ok` is exit code 0 and nothing else."""

    exit_code: int
    cause: Cause
    #: In words, for the task's error; None when it ended well.
    message: str | None = None
    #: The output file, else the last bytes of standard output, untrimmed; for the main link only.
    result: str | None = None
    #: Step -> milliseconds, for people.
    timings: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when the link ended well."""
        return self.exit_code == 0 and self.cause is Cause.EXITED


class Control:
    """What others tell a link's thread: kill the container, or let go of it. Thread-safe; the first word stands.

    `changed` is set with either; a runtime waits on it beside the container's end.
    """

    def __init__(self) -> None:
        self.changed = threading.Event()
        #: Why to kill (Cause.TIMEOUT, CANCELLED or SANDBOX_LOST), None: do not.
        self.kill_for: Cause | None = None
        #: Let the container run on and return (raise Detached).
        self.detached = False
        #: How long each step takes: the runtime tells, and whoever carries the link.
        self.timings = Timings()
        self._lock = threading.Lock()

    def kill(self, why: Cause) -> None:
        """End the container: TERM, a grace, KILL; its outcome says why."""
        with self._lock:
            if not self.changed.is_set():
                self.kill_for = why
                self.changed.set()

    def detach(self) -> None:
        """Leave the container alone and let the thread go."""
        with self._lock:
            if not self.changed.is_set():
                self.detached = True
                self.changed.set()


class Detached(Exception):
    """`go` or `prepare` was told to let go; the container is as it was.

    `prepare` raises it for a kill too, when no container of the link is there: `control.kill_for` says why.
    """


class LogSink(Protocol):
    """Where a runtime puts a container's output."""

    def position(self) -> LogPosition:
        """How far this container's log is stored already: go on after it."""

    def write(self, frames: Sequence[LogFrame]) -> None:
        """Take the next frames, in order. May block; an error ends the following, not the container."""

    def note(self, text: str) -> None:
        """Take a line of ours (pull progress), which is no part of the container's output."""


@dataclass(frozen=True)
class Resource:
    """A container, volume or sandbox of ours here, as its labels tell; or a work directory, as its name does."""

    #: container, volume, network (a sandbox: of a node, not of a task) or directory.
    kind: str
    #: Docker's id; that of a volume or a directory is its name.
    id: str
    name: str
    task_id: str
    attempt: int
    origin: int
    #: The link's index; None for a volume.
    index: int | None
    #: Docker's word (created, running, exited …); "" for a volume or a directory.
    state: str
    #: The node that made a sandbox; "" for all else.
    node: str = ""


class Runtime(Protocol):
    """Makes links happen on this host. Every call is bounded in time and may be repeated."""

    def describe(self) -> str:
        """The daemon in a few words, for people. Raises RuntimeUnavailable."""

    def refuses(self, order: Order) -> str:
        """Why this worker's doors let it create no container for the order, in words; "" when they do.

        Raises RuntimeUnavailable.
        """

    def prepare(self, order: Order, sink: LogSink, control: Control) -> Prepared:
        """Look, pull, make volumes, create; start nothing.

        Of an older attempt or origin: removed by force. My own name: absent -> created; running -> followed;
        exited -> collected; created by an older delivery -> made unstartable, looked at again, removed, created.
        Raises NotOurs (a newer delivery made it, or another thread with my token), Gone (a needed volume is
        missing), SandboxGone (as `go`), Unstartable (in words for the owner; DoorClosed when this worker's settings
        are why), RuntimeUnavailable, Detached.
        """

    def go(self, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
        """Start what this thread created, or follow, or collect; return how it ended.

        A start that is refused is an Outcome too (NOT_STARTED). Of a task killed by us the exit code is never 0.
        Raises Gone (not there any more, or the daemon's restart ended it: nothing of the task's doing),
        NotOurs (a newer delivery made it unstartable), SandboxGone (the sandbox that it was to join does not run;
        it was not started), RuntimeUnavailable (the daemon is silent), Detached.
        """

    def discard(self, prepared: Prepared) -> None:
        """Remove, without force, what `prepare` CREATED and nobody confirmed. The only call of a fenced thread."""

    def hold(self, name: str, node_id: str) -> None:
        """Make a sandbox: from now on links can join its network namespace. Raises RuntimeUnavailable, Unstartable."""

    def why_not_joined(self, sandbox: str, node_id: str) -> str | None:
        """Try to join this sandbox's namespace: None when it works here, else why not. Raises RuntimeUnavailable."""

    def is_quiet(self, seconds: float) -> bool:
        """No container of this process has been starting, ending or being removed for so long."""

    def list(self) -> Sequence[Resource]:
        """All containers (any state), volumes and sandboxes of this installation here. Raises RuntimeUnavailable."""

    def directories(self) -> Sequence[Resource]:
        """All work directories of this installation on this host, whose container may be gone: they prove nothing."""

    def tidy(self) -> None:
        """Remove what dead processes left here that belongs to no task. Raises RuntimeUnavailable."""

    def remove(self, things: Iterable[Resource]) -> int:
        """Remove by id, by force, with the work files; says how many are gone. What is gone already counts."""

    def kill(self, task_id: str) -> None:
        """Kill every running container of this task here (a cancelled task's late start)."""
