"""Checked tasks as frozen values, in the words of the task format.

Quantities stay as they were written (`5s`, `512m`); properties give them as numbers with the unit in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.jobspec import quantities
from engine.jobspec.ceilings import Ceilings


@dataclass(frozen=True)
class Mount:
    """Mount of a container: `volume` (new in each attempt), `bind` (an allowed host path) or `tmpfs`."""

    type: str
    #: Path in the container.
    target: str
    #: Host path of a bind.
    source: str | None = None
    #: tmpfs: size and mode; bind: mode, `ro` or `rw`. Never on a volume: with options it could mount a host path.
    opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Limits of each container: `cpus` ("1.5"), `memory` ("512m")."""

    cpus: str | None = None
    memory: str | None = None


@dataclass(frozen=True)
class Retry:
    """Retry policy for failed attempts. `limit` counts retries: with 1 a task runs at most twice."""

    limit: int = 0
    #: Delay before the first retry.
    initial_delay: str = "0s"
    #: Factor by which the delay grows with each retry.
    scaling_factor: float = 2.0
    max_delay: str = "1h"
    #: Random share of the delay, from 0 (none) to 1.
    jitter: float = 0.0


@dataclass(frozen=True)
class LinkSpec:
    """Container of the chain: a pre, the main one, or a post."""

    name: str | None = None
    description: str | None = None
    image: str = ""
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    #: Script that runs instead of `cmd`.
    run: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    #: Name below the working directory -> content.
    files: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    timeout: str | None = None
    #: `missing` or `always`.
    pull: str | None = None
    #: False: the command is process 1 of its container, without Docker's init.
    init: bool = True
    #: True for a post that also runs after a failed link.
    always: bool = False

    @property
    def timeout_seconds(self) -> float | None:
        """Time-out of the link in seconds, None without one."""
        return None if self.timeout is None else quantities.duration_seconds(self.timeout)


@dataclass(frozen=True)
class TaskSpec:
    """Task: its main container, pre and post, and where and how they run."""

    name: str
    main: LinkSpec
    description: str | None = None
    queue: str | None = None
    priority: int = 0
    #: Targets of new volumes, in Tork's short form; the same as mounts of type volume.
    volumes: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    #: Docker networks that the containers join.
    networks: tuple[str, ...] = ()
    #: "none" for no network, None for the default.
    network: str | None = None
    #: Size of /dev/shm.
    shm: str | None = None
    limits: Limits = Limits()
    #: Time-out of a whole attempt (pre, main, post), from the claim on.
    timeout: str | None = None
    retry: Retry = Retry()
    pre: tuple[LinkSpec, ...] = ()
    post: tuple[LinkSpec, ...] = ()
    tags: tuple[str, ...] = ()
    #: Name under which later tasks will read the result.
    var: str | None = None

    @property
    def timeout_seconds(self) -> float | None:
        """Time-out of an attempt in seconds, None without one."""
        return None if self.timeout is None else quantities.duration_seconds(self.timeout)

    @property
    def links(self) -> tuple[tuple[str, LinkSpec], ...]:
        """(kind, link) in the order in which they run; kind is pre, main or post."""
        return (
            *(("pre", link) for link in self.pre),
            ("main", self.main),
            *(("post", link) for link in self.post),
        )

    @property
    def volume_targets(self) -> tuple[str, ...]:
        """Targets of the new volumes, first those of `volumes`."""
        return (*self.volumes, *(m.target for m in self.mounts if m.type == "volume"))


@dataclass(frozen=True)
class HostAccess:
    """Parts of the host that tasks of this installation may use; made from the settings by the caller."""

    #: (normalised path, writable): binds at or below one of these are allowed.
    bind_sources: tuple[tuple[str, bool], ...] = ()
    #: Docker networks that a task may join.
    networks: tuple[str, ...] = ()
    #: Host paths that are never bound, even if `bind_sources` allows them (the data directory, Docker's socket).
    forbidden: tuple[str, ...] = ()
    #: Patterns of images; empty: all but those of a registry at an IP address or on the host itself.
    images: tuple[str, ...] = ()
    #: The most memory, shared memory and time that a task may ask for.
    ceilings: Ceilings = field(default_factory=Ceilings)
