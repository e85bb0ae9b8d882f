"""Translation of an order to the body of Docker's create call. Pure, except for the real path of a bind's source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import HostAccessDenied, Unstartable
from engine.jobspec import quantities
from engine.jobspec.ceilings import memory_denial
from engine.jobspec.container_paths import WORKDIR
from engine.jobspec.host_access import bind_permission
from engine.jobspec.image_access import image_denial
from engine.jobspec.task import HostAccess, Mount
from engine.runtime.base import Order
from engine.runtime.docker import files, labels
from engine.runtime.docker.host_places import HostPlaces
from engine.settings import RuntimeSettings
from engine.settings.groups import DROPPED_CAPABILITIES

#: Most bytes that Docker's `local` driver writes for a line of one byte, the shortest: 26 or 27.
_BYTES_OF_SHORTEST_LINE = 27
#: Files among which Docker rotates: all but the newest are always full.
LOG_FILES = 5
#: A smaller file could be full before a reader notices that it lags (engine.runtime.docker.lag).
LEAST_LOG_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class BoundFiles:
    """Files that are bound from the work directory: the output directory, and inputs by their path in the container."""

    out: Path
    inputs: Mapping[str, Path]


def allowed_mounts(order: Order, host_access: HostAccess, places: HostPlaces | None) -> list[dict[str, Any]]:
    """Return the binds and tmpfs mounts of the order; its image and each bind's real path are checked again.

    `places` None: this worker and its daemon share no files, so no bind can be checked. Raises HostAccessDenied with
    what this worker does not allow, Unstartable, RuntimeUnavailable.
    """
    if not order.spec.image:
        # Docker accepts an empty name and fails later, with a message that does not help.
        raise Unstartable("the link has no image: add image: …", 125)
    if reason := denial(order, host_access):
        raise HostAccessDenied(reason, 125)
    for name in order.networks:
        if name != "none" and name not in host_access.networks:
            raise HostAccessDenied(
                f"the network {name!r} may not be joined on this worker: FERRYMAN_NETWORKS does not list it",
                125,
            )
    return [
        _tmpfs(mount) if mount.type == "tmpfs" else _bind(mount, host_access, places)
        for mount in order.mounts
    ]


def denial(order: Order, host_access: HostAccess) -> str:
    """Return why this worker's settings forbid the order's image or sizes, "" when they allow both."""
    return image_denial(order.spec.image, host_access.images) or memory_denial(
        order.memory_bytes, order.shm_bytes, host_access.ceilings
    )


def create_body(
    order: Order, settings: RuntimeSettings, mounts: list[dict[str, Any]], bound: BoundFiles | None
) -> dict[str, Any]:
    """Return the body of `POST /containers/create`. `bound` None: files are copied by archive."""
    body: dict[str, Any] = {
        "Image": order.spec.image,
        "Env": _environment(order),
        "Labels": labels.of_container(order),
        "HostConfig": _host_config(order, settings, [*_own_mounts(order, bound), *mounts]),
        **_command(order),
    }
    if order.spec.user:
        body["User"] = order.spec.user
    if order.spec.workdir or order.spec.files:
        body["WorkingDir"] = order.spec.workdir or WORKDIR
    if order.networks and order.networks[0] != "none":
        body["NetworkingConfig"] = {"EndpointsConfig": {order.networks[0]: {}}}
    return body


def _command(order: Order) -> dict[str, Any]:
    """Return entrypoint and command. `run` is a file, passed to the entrypoint, else to `sh -c` (Tork's rule)."""
    if order.spec.run is not None:
        if order.spec.entrypoint:
            return {"Entrypoint": list(order.spec.entrypoint), "Cmd": [files.RUN]}
        # Without exec, the shell of busybox stays above the script, and SIGTERM never reaches it.
        return {"Entrypoint": ["sh", "-c"], "Cmd": [f"exec {files.RUN}"]}
    command: dict[str, Any] = {}
    if order.spec.entrypoint:
        command["Entrypoint"] = list(order.spec.entrypoint)
    if order.spec.cmd is not None:
        command["Cmd"] = list(order.spec.cmd)
    return command


def _environment(order: Order) -> list[str]:
    paths = {"OUTPUT": files.RESULT, "PROGRESS": files.PROGRESS}
    env = {
        **order.spec.env,
        "FERRYMAN_JOB_ID": order.job_id,
        "FERRYMAN_TASK_ID": order.run.task_id,
        "FERRYMAN_ATTEMPT": str(order.run.attempt),
        "FERRYMAN_RETRY_LIMIT": str(order.retry_limit),
        **{f"{prefix}_{key}": path for key, path in paths.items() for prefix in ("FERRYMAN", "TORK")},
    }
    return [f"{key}={value}" for key, value in env.items()]


def _host_config(order: Order, settings: RuntimeSettings, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    memory = order.memory_bytes or quantities.memory_bytes(settings.default_memory)
    config: dict[str, Any] = {
        "Mounts": mounts,
        "NetworkMode": _network_mode(order),
        "Memory": memory,
        # Equal to memory, because otherwise a container may use as much again as swap.
        "MemorySwap": memory,
        "PidsLimit": settings.pids_limit,
        "Init": order.spec.init,
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": [name for name in DROPPED_CAPABILITIES if name not in settings.keep_capabilities],
        "LogConfig": {"Type": "local", "Config": _log_options(settings.log_bytes)},
    }
    if order.cpus:
        config["NanoCpus"] = round(order.cpus * 1e9)
    if order.shm_bytes:
        config["ShmSize"] = order.shm_bytes
    return config


def _log_options(log_bytes: int) -> dict[str, str]:
    """Return options with which Docker's log holds whatever of a task's log the store would keep.

    The store counts the bytes that containers write, Docker those of its files. The files are not compressed, because
    each read would unpack them all.
    """
    file_bytes = max(LEAST_LOG_FILE_BYTES, log_bytes * _BYTES_OF_SHORTEST_LINE // (LOG_FILES - 1))
    return {"max-size": str(file_bytes), "max-file": str(LOG_FILES), "compress": "false"}


def _network_mode(order: Order) -> str:
    if order.sandbox is not None:
        return f"container:{order.sandbox}"
    return order.networks[0] if order.networks else "default"


def _own_mounts(order: Order, bound: BoundFiles | None) -> list[dict[str, Any]]:
    # The mount has no labels: if a volume is missing, Docker makes it without them, and that is noticed.
    mounts: list[dict[str, Any]] = [
        {"Type": "volume", "Source": name, "Target": target} for name, target in order.volumes
    ]
    if bound is not None:
        mounts.append({"Type": "bind", "Source": str(bound.out), "Target": files.OUT})
        mounts += [
            {"Type": "bind", "Source": str(file), "Target": target, "ReadOnly": True}
            for target, file in bound.inputs.items()
        ]
    return mounts


def _tmpfs(mount: Mount) -> dict[str, Any]:
    options: dict[str, int] = {}
    try:
        if "size" in mount.opts:
            options["SizeBytes"] = quantities.memory_bytes(mount.opts["size"])
        if "mode" in mount.opts:
            options["Mode"] = int(mount.opts["mode"], 8)
    except ValueError as exc:
        raise Unstartable(f"tmpfs at {mount.target}: {exc}", 125) from exc
    return {"Type": "tmpfs", "Target": mount.target, **({"TmpfsOptions": options} if options else {})}


def _bind(mount: Mount, host_access: HostAccess, places: HostPlaces | None) -> dict[str, Any]:
    source, mode = mount.source or "", mount.opts.get("mode")
    if places is None:
        raise HostAccessDenied(
            f"{source!r} may not be mounted: this worker does not share files with its Docker, "
            "so it cannot check where the path leads",
            125,
        )
    real = os.path.realpath(source)
    permissions = [bind_permission(path, host_access) for path in (source, real)]
    for permission in permissions:
        if not permission.allowed:
            target = "" if real == source else f" (it leads to {real})"
            raise HostAccessDenied(f"{permission.reason}{target}", 125)
    may_write = all(permission.writable for permission in permissions)
    if mode == "rw" and not may_write:
        raise HostAccessDenied(f"{source!r} may be mounted read-only, not read-write: write mode: ro", 125)
    is_read_only = mode == "ro" or not may_write
    places.refuse_unsafe(real, is_writable=not is_read_only)
    # The real path, so that a symbolic link changed after this check has no effect.
    return {"Type": "bind", "Source": real, "Target": mount.target, "ReadOnly": is_read_only}
