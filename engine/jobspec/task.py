"""What a user asks for, checked: frozen values with the words of the task format.

Texts that stand for quantities are kept as they were written (`5s`, `512m`); the properties give numbers,
with the unit in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.jobspec import quantities


@dataclass(frozen=True)
class Mount:
    """A place in the container: `volume` (fresh per attempt), `bind` (allow-listed host path) or `tmpfs`."""

    type: str
    target: str
    source: str | None = None
    #: tmpfs: size and mode; bind: mode, `ro` or `rw`. Never on a volume (with options it is a bind in disguise).
    opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What a container may take: `cpus` ("1.5"), `memory` ("512m")."""

    cpus: str | None = None
    memory: str | None = None


@dataclass(frozen=True)
class Retry:
    """How often a failed attempt is tried again, and when. `limit` counts retries: 1 runs at most twice."""

    limit: int = 0
    initial_delay: str = "0s"
    scaling_factor: float = 2.0
    max_delay: str = "1h"
    #: Share of the delay that is drawn at random, 0 (none) to 1.
    jitter: float = 0.0


@dataclass(frozen=True)
class LinkSpec:
    """One container: a pre, a post, or what the main task itself runs."""

    name: str | None = None
    description: str | None = None
    image: str = ""
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    run: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    timeout: str | None = None
    pull: str | None = None
    #: A post that runs although a link before it failed.
    always: bool = False

    @property
    def timeout_seconds(self) -> float | None:
        """The link's own bound in seconds, None when it has none."""
        return None if self.timeout is None else quantities.duration_seconds(self.timeout)


@dataclass(frozen=True)
class TaskSpec:
    """One task: its main container, its pre and post, and where and how it runs."""

    name: str
    main: LinkSpec
    description: str | None = None
    queue: str | None = None
    priority: int = 0
    #: The seed's form: targets of fresh volumes. Equal to mounts of type volume.
    volumes: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    networks: tuple[str, ...] = ()
    #: "none", or None for the default.
    network: str | None = None
    shm: str | None = None
    limits: Limits = Limits()
    #: Bound of a whole attempt (pre, main, post), from its claim.
    timeout: str | None = None
    retry: Retry = Retry()
    pre: tuple[LinkSpec, ...] = ()
    post: tuple[LinkSpec, ...] = ()
    tags: tuple[str, ...] = ()
    var: str | None = None

    @property
    def timeout_seconds(self) -> float | None:
        """The attempt's bound in seconds, None when it has none."""
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
        """Targets of the fresh volumes, those of `volumes` first."""
        return (*self.volumes, *(m.target for m in self.mounts if m.type == "volume"))


@dataclass(frozen=True)
class HostAccess:
    """What tasks of this installation may name of the host. Frozen, made from the settings by the caller."""

    #: (normalised path, writable): binds at or below one of them are allowed.
    bind_sources: tuple[tuple[str, bool], ...] = ()
    #: Docker networks that a task may ask for.
    networks: tuple[str, ...] = ()
    #: Host paths that are never bound, whatever the allow-list says (the data directory, Docker's socket).
    forbidden: tuple[str, ...] = ()


#: What the API or the command line hands over as JSON: {"name": …, "image": …}, camelCase.
StoredSpec = dict[str, Any]
