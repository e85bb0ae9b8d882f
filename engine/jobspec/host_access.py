"""What a task may name of the host: host paths, networks, places in the container. Pure logic on texts.

The schema asks at submission; the runtime asks `bind_allowed` again on the worker's host, about the real
path. The caller resolves links: nothing here touches a file system.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import SettingsError
from engine.jobspec.problems import Fault, Path
from engine.jobspec.task import HostAccess
from engine.wording.text import quoted

#: Never bound, whatever a setting says: who holds these holds the host.
ALWAYS_FORBIDDEN = (
    "/proc",
    "/sys",
    "/dev",
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd",
    "/var/run/containerd",
    "/var/lib/docker",
)
#: Places in the container that are Ferryman's (result, progress, run) or the kernel's.
_RESERVED_TARGETS = ("/tork", "/ferryman", "/proc", "/sys")
_PATH_CHARSET = re.compile(r"[-/.0-9a-zA-Z_= ]+")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
#: Names that Docker reads otherwise than as a user's network.
_NETWORK_WORDS = ("host", "bridge", "default", "none")
MOST_PATH_CHARACTERS = 1024


@dataclass(frozen=True)
class BindDecision:
    """Whether a host path may be bound. `reason` says why not, in words for the task's owner, else ""."""

    allowed: bool
    #: False: it may be bound read-only.
    writable: bool
    reason: str = ""


def host_access_from(
    bind_sources: Iterable[str], networks: Iterable[str], data_dir: str, docker_host: str = ""
) -> HostAccess:
    """The doors as the settings' entries say: `/srv/media` or `/srv/out:rw`, and names of networks.

    `data_dir`, the socket in `docker_host` (`unix:///…`) and Docker's usual places are never bound.
    Raises SettingsError naming the variable.
    """
    forbidden = [*ALWAYS_FORBIDDEN]
    forbidden += [posixpath.normpath(data_dir)] if data_dir else []
    forbidden += [posixpath.normpath(docker_host[7:])] if docker_host.startswith("unix://") else []
    return HostAccess(
        bind_sources=tuple(_bind_source(entry) for entry in bind_sources),
        networks=tuple(_network(entry) for entry in networks),
        forbidden=tuple(dict.fromkeys(forbidden)),
    )


def _bind_source(entry: str) -> tuple[str, bool]:
    path, colon, mode = entry.rpartition(":")
    if not colon or mode not in ("ro", "rw"):
        path, mode = entry, "ro"
    if not path.startswith("/") or ".." in path.split("/") or _normal(path) == "/":
        raise SettingsError(
            f"FERRYMAN_BIND_SOURCES: {quoted(entry)} is no absolute path below /: "
            "write /srv/media or /srv/out:rw"
        )
    return (_normal(path), mode == "rw")


def _network(name: str) -> str:
    if _NETWORK.fullmatch(name) is None or name in _NETWORK_WORDS:
        raise SettingsError(
            f"FERRYMAN_NETWORKS: {quoted(name)} is no network's name: write names as in docker network ls"
        )
    return name


def _normal(path: str) -> str:
    # normpath keeps two leading slashes (POSIX leaves their meaning open); Linux reads them as one.
    return posixpath.normpath("/" + path.lstrip("/"))


def is_within(path: str, folder: str) -> bool:
    """True when a normalised path is `folder` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def bind_allowed(path: str, host_access: HostAccess) -> BindDecision:
    """Whether a task may bind this absolute host path, and whether it may write there.

    It must be at or below an entry of `host_access.bind_sources` (the longest that fits says ro or rw), and be
    neither at, below nor above anything forbidden: a folder above the Docker socket holds the socket. At
    submission `path` is what the task says, on the worker it is the real path.
    """
    if not path.startswith("/") or ".." in path.split("/"):
        return BindDecision(False, False, f"{quoted(path)} may not be mounted: no absolute path without ..")
    real = _normal(path)
    for never in (*ALWAYS_FORBIDDEN, *host_access.forbidden):
        if is_within(real, never):
            return BindDecision(False, False, f"{quoted(path)} may not be mounted: {never} is never shared")
        if is_within(never, real):
            return BindDecision(False, False, f"{quoted(path)} may not be mounted: {never} lies in it")
    fitting = [entry for entry in host_access.bind_sources if is_within(real, entry[0])]
    if not fitting:
        return BindDecision(False, False, f"{quoted(path)} may not be mounted: not in FERRYMAN_BIND_SOURCES")
    return BindDecision(True, max(fitting, key=lambda entry: len(entry[0]))[1])


def target_fault(target: str) -> Fault | None:
    """What is wrong with a mount's place in the container, None when it may be used."""
    shown, hint = quoted(target), "write an absolute path such as /data"
    if not target.startswith("/") or ".." in target.split("/"):
        return Fault(f"{shown} is no absolute path without ..", hint)
    if len(target) > MOST_PATH_CHARACTERS:
        return Fault(f"{shown} is longer than {MOST_PATH_CHARACTERS} characters", hint)
    if _PATH_CHARSET.fullmatch(target) is None:
        return Fault(
            f"{shown} has a character that paths of mounts may not have",
            "use letters, digits, - / . _ = and spaces",
        )
    normal = _normal(target)
    if normal in ("/", "/dev"):
        return Fault(f"{shown} cannot be mounted over", hint)
    for reserved in _RESERVED_TARGETS:
        if is_within(normal, reserved):
            return Fault(f"{shown} is reserved: {reserved} is not for mounts", hint)
    return None


def source_fault(source: str) -> Fault | None:
    """What is wrong with the form of a bind's source, None when the doors may be asked about it."""
    shown, hint = quoted(source), "write an absolute path of the host such as /srv/media"
    if not source.startswith("/") or ".." in source.split("/"):
        return Fault(f"{shown} is no absolute path without ..", hint)
    if _PATH_CHARSET.fullmatch(source) is None:
        return Fault(
            f"{shown} has a character that paths of mounts may not have",
            "use letters, digits, - / . _ = and spaces",
        )
    return None


def check_host_access(task: Mapping[str, Any], host_access: HostAccess) -> list[tuple[Path, Fault]]:
    """Every problem of a task with the doors, and every place used twice, whatever else is wrong with it.

    Takes the plain values as they were read; what has the wrong type is passed over, the schema names it.
    """
    return [*_mount_faults(task, host_access), *_network_faults(task, host_access), *_doubled_targets(task)]


def _items(task: Mapping[str, Any], key: str) -> Iterable[tuple[int, Any]]:
    found = task.get(key)
    return enumerate(found[:1000]) if isinstance(found, list) else ()


def _mount_faults(task: Mapping[str, Any], host_access: HostAccess) -> Iterable[tuple[Path, Fault]]:
    for index, mount in _items(task, "mounts"):
        if not isinstance(mount, Mapping) or mount.get("type") != "bind":
            continue
        source = mount.get("source")
        if not isinstance(source, str) or source_fault(source) is not None:
            continue
        answer = bind_allowed(source, host_access)
        if not answer.allowed:
            hint = "use a volume, or ask who runs this Ferryman to allow the path"
            yield ("mounts", index, "source"), Fault(answer.reason, hint)
        elif not answer.writable and _asked_mode(mount) == "rw":
            said = Fault(
                f"{quoted(source)} may be mounted read-only",
                "write mode: ro, or ask for :rw in FERRYMAN_BIND_SOURCES",
            )
            yield ("mounts", index, "opts", "mode"), said


def _asked_mode(mount: Mapping[str, Any]) -> Any:
    opts = mount.get("opts")
    return opts.get("mode") if isinstance(opts, Mapping) else None


def _network_faults(task: Mapping[str, Any], host_access: HostAccess) -> Iterable[tuple[Path, Fault]]:
    allowed = (
        f"allowed are {', '.join(host_access.networks)}" if host_access.networks else "none is allowed here"
    )
    for index, name in _items(task, "networks"):
        if isinstance(name, str) and name not in host_access.networks:
            said = Fault(
                f"the network {quoted(name)} may not be joined: not in FERRYMAN_NETWORKS",
                f"remove it; {allowed}",
            )
            yield ("networks", index), said


def _doubled_targets(task: Mapping[str, Any]) -> Iterable[tuple[Path, Fault]]:
    places: list[tuple[Path, Any]] = [(("volumes", index), item) for index, item in _items(task, "volumes")]
    for index, mount in _items(task, "mounts"):
        if isinstance(mount, Mapping):
            places.append((("mounts", index, "target"), mount.get("target")))
    seen: set[str] = set()
    for path, target in places:
        if not isinstance(target, str) or not target.startswith("/"):
            continue
        normal = _normal(target)
        if normal in seen:
            yield path, Fault(f"{quoted(target)} is mounted twice", "remove one of them")
        seen.add(normal)
