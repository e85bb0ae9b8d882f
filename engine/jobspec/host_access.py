"""Rules for the host access of tasks: host paths and Docker networks. Pure logic on texts.

The schema applies the rules at submission; the runtime applies `bind_permission` again on the worker's host, to the
real path, and compares places, not names (engine.runtime.docker.host_places). Nothing here touches a file system.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from engine.errors import SettingsError
from engine.jobspec.ceilings import ceiling_faults, ceilings_from
from engine.jobspec.container_paths import is_within, items, normal, place_faults, source_fault
from engine.jobspec.image_access import image_faults, image_patterns
from engine.jobspec.problems import Fault, Path
from engine.jobspec.task import HostAccess
from engine.wording.text import quoted

#: Never bound, whatever the settings allow: with one of these, a task controls the host.
ALWAYS_FORBIDDEN = (
    "/proc",
    "/sys",
    "/dev",
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd",
    "/var/run/containerd",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/run/podman",
    "/run/systemd",
    "/run/dbus",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/ssh",
    "/root/.ssh",
)
#: Never writable: the programs and the configuration of the host.
NEVER_WRITABLE = ("/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot", "/var/spool/cron")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
#: Names that are not a user's network for Docker.
_NETWORK_WORDS = ("host", "bridge", "default", "none")


@dataclass(frozen=True)
class BindPermission:
    """Permission to bind a host path, or the reason for the refusal."""

    allowed: bool
    #: False when the path may only be bound read-only.
    writable: bool
    #: In words for the task's owner; "" when allowed.
    reason: str = ""


class AccessSettings(Protocol):
    """The settings that open parts of the host (engine.settings.RuntimeSettings)."""

    @property
    def bind_sources(self) -> tuple[str, ...]: ...
    @property
    def networks(self) -> tuple[str, ...]: ...
    @property
    def images(self) -> tuple[str, ...]: ...
    @property
    def docker_host(self) -> str: ...
    @property
    def max_memory(self) -> str: ...
    @property
    def max_shm(self) -> str: ...
    @property
    def max_timeout_seconds(self) -> float: ...


def host_access_of(settings: AccessSettings, private: tuple[str, ...]) -> HostAccess:
    """Return the host access that the settings of a process give. Raises SettingsError."""
    access = host_access_from(
        settings.bind_sources, settings.networks, private, settings.docker_host, settings.images
    )
    ceilings = ceilings_from(settings.max_memory, settings.max_shm, settings.max_timeout_seconds)
    return replace(access, ceilings=ceilings)


def host_access_from(
    bind_sources: Iterable[str],
    networks: Iterable[str],
    private: tuple[str, ...] = (),
    docker_host: str = "",
    images: Iterable[str] = (),
) -> HostAccess:
    """Return the host access of the settings' entries: `/srv/media` or `/srv/out:rw`, networks, patterns of images.

    `private` places of Ferryman, the socket in `docker_host` (`unix:///…`) and Docker's usual places are never bound.
    Raises SettingsError with the name of the variable.
    """
    sources = tuple(_bind_source(entry) for entry in bind_sources)
    _refuse_replaceable(sources)
    forbidden = [*ALWAYS_FORBIDDEN]
    forbidden += [normal(path) for path in private if path.startswith("/")]
    forbidden += [posixpath.normpath(docker_host[7:])] if docker_host.startswith("unix://") else []
    return HostAccess(
        bind_sources=sources,
        networks=tuple(_network(entry) for entry in networks),
        forbidden=tuple(dict.fromkeys(forbidden)),
        images=image_patterns(images),
    )


def _bind_source(entry: str) -> tuple[str, bool]:
    path, colon, mode = entry.rpartition(":")
    if not colon or mode not in ("ro", "rw"):
        path, mode = entry, "ro"
    if not path.startswith("/") or ".." in path.split("/") or normal(path) == "/":
        raise SettingsError(
            f"FERRYMAN_BIND_SOURCES: {quoted(entry)} is not an absolute path below /: "
            "write /srv/media or /srv/out:rw"
        )
    path = normal(path)
    if mode == "rw" and (place := next((place for place in NEVER_WRITABLE if overlap(path, place)), "")):
        raise SettingsError(
            f"FERRYMAN_BIND_SOURCES: {quoted(entry)} would let tasks write in {place}, which belongs to the host: "
            "choose a directory such as /srv/out, or leave out :rw"
        )
    return (path, mode == "rw")


def _refuse_replaceable(sources: tuple[tuple[str, bool], ...]) -> None:
    """Refuse an entry at or below a writable one: a task could replace it by a link to any place of the host."""
    for number, (outer, is_writable) in enumerate(sources):
        inner = [path for n, (path, _) in enumerate(sources) if n != number and is_within(path, outer)]
        if is_writable and inner:
            raise SettingsError(
                f"FERRYMAN_BIND_SOURCES: {quoted(inner[0])} is inside {quoted(outer + ':rw')}, where tasks could "
                "replace it: remove one of them"
            )


def _network(name: str) -> str:
    if _NETWORK.fullmatch(name) is None or name in _NETWORK_WORDS:
        raise SettingsError(
            f"FERRYMAN_NETWORKS: {quoted(name)} is not a network that tasks may join: "
            "write names as docker network ls shows them, without host, bridge, default and none"
        )
    return name


def overlap(path: str, other: str) -> bool:
    """Return whether one of two normalised paths contains the other, or both are the same."""
    return is_within(path, other) or is_within(other, path)


def bind_permission(path: str, host_access: HostAccess) -> BindPermission:
    """Decide whether a task may bind an absolute host path, and whether it may write there.

    The path must be at or below an entry of `host_access.bind_sources`; of a writable entry, only the entry itself.
    Below it a task could replace a directory by a symbolic link while Docker starts another container, and Docker
    follows links. The path must not be at, below or above a forbidden path: a folder above the Docker socket
    contains the socket. At submission `path` is the text of the task, on the worker the real path.
    """

    def refused(reason: str) -> BindPermission:
        return BindPermission(False, False, f"{quoted(path)} may not be mounted: {reason}")

    if not path.startswith("/") or ".." in path.split("/"):
        return refused("it is not an absolute path without ..")
    real = normal(path)
    for forbidden in (*ALWAYS_FORBIDDEN, *host_access.forbidden):
        if is_within(real, forbidden):
            return refused(f"{forbidden} is never shared")
        if is_within(forbidden, real):
            return refused(f"it contains {forbidden}")
    entries = [entry for entry in host_access.bind_sources if is_within(real, entry[0])]
    if not entries:
        return refused("it is not in FERRYMAN_BIND_SOURCES")
    entry, is_writable = max(entries, key=lambda entry: len(entry[0]))
    if is_writable and real != entry:
        return refused(f"tasks may write in {entry}, so they could replace it; mount {entry} itself")
    return BindPermission(True, is_writable)


def check_host_access(task: Mapping[str, Any], host_access: HostAccess) -> list[tuple[Path, Fault]]:
    """Return the faults of a task's images, binds, networks, sizes and times, and of places used twice.

    Takes the values as they were read; values of a wrong type are skipped, because the schema reports them.
    """
    return [
        *image_faults(task, host_access.images),
        *ceiling_faults(task, host_access.ceilings),
        *_mount_faults(task, host_access),
        *_network_faults(task, host_access),
        *place_faults(task),
    ]


def _mount_faults(task: Mapping[str, Any], host_access: HostAccess) -> Iterable[tuple[Path, Fault]]:
    for index, mount in items(task, "mounts"):
        if not isinstance(mount, Mapping) or mount.get("type") != "bind":
            continue
        source = mount.get("source")
        if not isinstance(source, str) or source_fault(source) is not None:
            continue
        permission = bind_permission(source, host_access)
        if not permission.allowed:
            hint = "use a volume, or ask the operator of this Ferryman to allow the path"
            yield ("mounts", index, "source"), Fault(permission.reason, hint)
        elif not permission.writable and _bind_mode(mount) == "rw":
            hint = "write mode: ro, or ask the operator to allow it with :rw in FERRYMAN_BIND_SOURCES"
            fault = Fault(f"{quoted(source)} may be mounted read-only, not writable", hint)
            yield ("mounts", index, "opts", "mode"), fault


def _bind_mode(mount: Mapping[str, Any]) -> Any:
    opts = mount.get("opts")
    return opts.get("mode") if isinstance(opts, Mapping) else None


def _network_faults(task: Mapping[str, Any], host_access: HostAccess) -> Iterable[tuple[Path, Fault]]:
    allowed = ", ".join(host_access.networks)
    for index, name in items(task, "networks"):
        if isinstance(name, str) and name not in host_access.networks:
            message = f"the network {quoted(name)} may not be joined: it is not in FERRYMAN_NETWORKS"
            hint = (
                f"remove it, or join one of: {allowed}"
                if allowed
                else "remove it; no network is allowed here"
            )
            yield ("networks", index), Fault(message, hint)
