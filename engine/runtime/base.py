"""The port to a container engine: `Runtime` runs links on this host, `Sandboxes` keeps network namespaces for them.

A link goes through `prepare`, the verb `confirm`, and `go`; `list` and `remove` are for everything that links leave.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from engine.jobspec.task import LinkSpec, Mount
from engine.model import names
from engine.model.records import LogFrame, LogPosition, RunKey
from engine.runtime.timings import Timings


@dataclass(frozen=True)
class Order:
    """Order to run one link, as committed by the claim; a runtime needs nothing else."""

    installation: str
    job_id: str
    run: RunKey
    delivery: int
    index: int
    #: pre, main or post.
    kind: str
    #: Image, command, files and environment, with every expression rendered.
    spec: LinkSpec
    #: (volume name, target); made before link 0 only, checked before every later link.
    volumes: tuple[tuple[str, str], ...] = ()
    #: bind and tmpfs mounts; the real path of a bind is checked again here, on its host.
    mounts: tuple[Mount, ...] = ()
    #: Docker networks to join, in order; () is the default bridge, ("none",) no network.
    networks: tuple[str, ...] = ()
    #: The sandbox whose network namespace the link joins; None: the link gets a namespace of its own.
    sandbox: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    #: Retries that the task may have, for the container's environment.
    retry_limit: int = 0
    #: A link of this run has ended: if a volume is missing, the run is lost (Gone).
    needs_volumes: bool = False

    @property
    def name(self) -> str:
        """The container's name."""
        return names.container(self.installation, self.run, self.index)


class PreparedState(StrEnum):
    """State in which `prepare` left the container. Only the thread that CREATED it may start it."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class Prepared:
    """A container for the link that `order` describes."""

    order: Order
    container_id: str
    state: PreparedState


class Cause(StrEnum):
    """Reason why a link ended."""

    EXITED = "exited"
    OUT_OF_MEMORY = "out of memory"
    #: Killed by Ferryman, as `Control.kill` asked; OUTPUT may also be found when the link has ended.
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OUTPUT = "wrote too much"
    #: Killed by somebody else (docker kill).
    KILLED = "killed from outside"
    #: The sandbox died: the link failed for lack of a network, or was killed because it had none any more.
    SANDBOX_LOST = "sandbox lost"
    #: Never ran, because of its image, command, user or mounts; `message` says which.
    NOT_STARTED = "not started"


@dataclass(frozen=True)
class Outcome:
    """End of a link."""

    exit_code: int
    cause: Cause
    #: In words, for the task's error; None when the link succeeded.
    message: str | None = None
    #: The output file, else the last bytes of standard output, untrimmed; of a main link only.
    result: str | None = None
    #: Span -> milliseconds, for people.
    timings: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return True if the command ran and exited with code 0."""
        return self.exit_code == 0 and self.cause is Cause.EXITED


class Control:
    """Request to a link's thread: kill the container, or detach from it. Thread-safe; the first request counts.

    `changed` is set by either; a runtime waits for it and for the container's end together.
    """

    def __init__(self) -> None:
        self.changed = threading.Event()
        #: Why to kill (Cause.TIMEOUT, CANCELLED, OUTPUT or SANDBOX_LOST); None: do not kill.
        self.kill_for: Cause | None = None
        #: Let the container run on and return (raise Detached).
        self.detached = False
        #: Duration of each span, measured by the runtime and by the link's thread.
        self.timings = Timings()
        self._lock = threading.Lock()

    def kill(self, why: Cause) -> None:
        """End the container by TERM, a grace period and KILL; its outcome gives this cause."""
        with self._lock:
            if not self.changed.is_set():
                self.kill_for = why
                self.changed.set()

    def detach(self) -> None:
        """Release the thread and leave the container alone."""
        with self._lock:
            if not self.changed.is_set():
                self.detached = True
                self.changed.set()


class Detached(Exception):
    """`go` or `prepare` was told to detach; the container is as it was.

    `prepare` raises it for a kill too, if the link has no container: `control.kill_for` gives the reason.
    """


class LogSink(Protocol):
    """Receiver of a container's output."""

    def position(self) -> LogPosition:
        """Return the position up to which this container's log is stored; reading continues after it."""

    def write(self, frames: Sequence[LogFrame]) -> None:
        """Take the next frames, in order. May block; an error ends the following of the log, not the container."""

    def note(self, text: str) -> None:
        """Take a line by Ferryman (pull progress) that is not part of the container's output."""


@dataclass(frozen=True)
class Resource:
    """A container, volume, sandbox or work directory of this installation on this host."""

    #: container, volume, sandbox or directory.
    kind: str
    #: Docker's id; the name, for a volume or a directory.
    id: str
    name: str
    #: None for a sandbox, which belongs to a node.
    run: RunKey | None = None
    #: The link's index; None for a volume or a sandbox.
    index: int | None = None
    #: Docker's word (created, running, exited …); "" for a volume or a directory.
    state: str = ""
    #: The node that made a sandbox; "" for any other kind.
    node: str = ""

    @property
    def may_run(self) -> bool:
        """Return True for a container that runs, or that its creator may still start."""
        return self.kind == "container" and self.state in ("created", "running", "paused", "restarting")


class Runtime(Protocol):
    """Containers on this host. Every call is bounded in time and may be repeated.

    Any call may raise RuntimeUnavailable: the daemon does not answer.
    """

    def describe(self) -> str:
        """Return the daemon's version, storage driver and address in a few words, for people."""

    def why_refused(self, order: Order) -> str:
        """Return why this worker's host access forbids the order's container, in words; "" when it allows it."""

    def prepare(self, order: Order, sink: LogSink, control: Control) -> Prepared:
        """Find or create the link's container: look, pull, make volumes, create; start nothing.

        Containers of an older attempt or origin are removed by force. A container with the link's name is followed
        if it runs and collected if it exited. If an older delivery created it, it is made unstartable, looked at
        again, removed and created again.
        Raises NotOurs (a newer delivery made it, or another thread with the same token), Gone (a volume is missing),
        SandboxGone (as `go`), Unstartable (in words for the task's owner; HostAccessDenied when this worker's
        settings are the reason), MachineFault (nothing can run under this order), Detached.
        """

    def go(self, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
        """Start the container that this thread created, or follow it, or collect its end; return how it ended.

        A start refused for what the task asks is an outcome too (NOT_STARTED). The exit code of a container killed by
        Ferryman is never 0.
        Raises Gone (the container is removed, or the daemon's restart ended it: not the task's fault), NotOurs (a
        newer delivery made it unstartable), SandboxGone (the link was not started, because the sandbox that it was to
        join does not run), MachineFault (the container was never started and is removed), Detached.
        """

    def discard(self, prepared: Prepared) -> None:
        """Remove, without force, a container that is CREATED and not confirmed. The only call of a fenced thread."""

    def output_directory(self, prepared: Prepared) -> Path | None:
        """Return where the container's output directory is on this host; None when its files were copied."""

    def empty_output(self, prepared: Prepared) -> None:
        """Remove what an ended container left in its output directory; what stays is told, not raised."""

    def list(self, *, with_directories: bool = False) -> Sequence[Resource]:
        """Return the installation's containers (in any state), volumes and sandboxes on this host.

        Work directories are listed on request only: they may outlive their container, so they prove nothing.
        """

    def remove(self, resources: Iterable[Resource]) -> int:
        """Remove resources by id, by force, with their work files; return how many are gone, now or before."""

    def why_files_unusable(self) -> str:
        """Return why this worker cannot keep files in its data directory, in words; "" when it can."""

    def remove_orphans(self) -> None:
        """Remove leftovers of dead processes of this installation that belong to no task."""


class Sandboxes(Protocol):
    """Sandboxes on this host: containers that only keep a network namespace open, for the links of an attempt.

    Any call but `is_idle` may raise RuntimeUnavailable: the daemon does not answer.
    """

    def make(self, name: str, node_id: str) -> None:
        """Make a sandbox; from now on links can join its network namespace.

        Raises Unstartable when this host can have none, MachineFault when Docker refuses for now.
        """

    def why_not_joined(self, name: str, node_id: str) -> str | None:
        """Try to join this sandbox's namespace; return None when joining works on this host, else the reason.

        Raises MachineFault when no container starts at all.
        """

    def why_not_started(self, name: str, node_id: str) -> str:
        """Start a container of this name as a task's is, and remove it; return why it cannot start, "" when it can."""

    def remove(self, name: str) -> bool:
        """Remove a sandbox by force; return True when it is gone."""

    def is_idle(self, seconds: float) -> bool:
        """Return True when no container of this process started, ended or was removed for `seconds`.

        A sandbox that is made then costs no running work any time.
        """
