"""An order as Docker's words: the body of the create call. Pure, but for the real path of a bind's source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import HostAccessDenied, Unstartable
from engine.jobspec import quantities
from engine.jobspec.host_access import bind_permission
from engine.jobspec.task import HostAccess, Mount
from engine.runtime.base import Order
from engine.runtime.docker import files, labels
from engine.settings import RuntimeSettings

#: Kept by Docker beside what we store: two files of this size, so that a follower is not overtaken.
LOG_SIZE = "64m"
LOG_FILES = "2"


@dataclass(frozen=True)
class Shared:
    """What is bound from the work directory: the output directory, and files by their place in the container."""

    out: Path
    inputs: Mapping[str, Path]


def check_host_access_of(
    order: Order, host_access: HostAccess, *, are_files_shared: bool
) -> list[dict[str, Any]]:
    """The binds and tmpfs mounts of the order, each bind asked again about its real path on this host.

    Raises DoorClosed with what may not be, Unstartable.
    """
    if not order.spec.image:
        # Docker accepts the empty name, and fails later in other words.
        raise Unstartable("the link names no image", 125)
    for name in order.networks:
        if name != "none" and name not in host_access.networks:
            raise HostAccessDenied(
                f"the network {name!r} may not be joined on this worker: not in FERRYMAN_NETWORKS", 125
            )
    return [
        _tmpfs(mount) if mount.type == "tmpfs" else _bind(mount, host_access, are_files_shared)
        for mount in order.mounts
    ]


def create_body(
    order: Order, settings: RuntimeSettings, mounts: list[dict[str, Any]], shared: Shared | None
) -> dict[str, Any]:
    """The body of `POST /containers/create`. `shared` None: files go by archive."""
    command = _command(order)
    body: dict[str, Any] = {
        "Image": order.spec.image,
        "Env": _environment(order),
        "Labels": labels.of_container(order),
        "HostConfig": _host_config(order, settings, [*_own_mounts(order, shared), *mounts]),
        **command,
    }
    if order.spec.user:
        body["User"] = order.spec.user
    if order.spec.workdir or order.spec.files:
        body["WorkingDir"] = order.spec.workdir or files.WORKDIR
    if order.networks and order.networks[0] != "none":
        body["NetworkingConfig"] = {"EndpointsConfig": {order.networks[0]: {}}}
    return body


def _command(order: Order) -> dict[str, Any]:
    """Tork's rule: `run` is a file, given to the entrypoint, or to `sh -c` when there is none."""
    if order.spec.run is not None:
        return {"Entrypoint": list(order.spec.entrypoint or ("sh", "-c")), "Cmd": [files.RUN]}
    found: dict[str, Any] = {}
    if order.spec.entrypoint:
        found["Entrypoint"] = list(order.spec.entrypoint)
    if order.spec.cmd is not None:
        found["Cmd"] = list(order.spec.cmd)
    return found


def _environment(order: Order) -> list[str]:
    ours = {"OUTPUT": files.RESULT, "PROGRESS": files.PROGRESS}
    env = {
        **order.spec.env,
        **{f"{prefix}_{key}": at for key, at in ours.items() for prefix in ("FERRYMAN", "TORK")},
    }
    return [f"{key}={value}" for key, value in env.items()]


def _host_config(order: Order, settings: RuntimeSettings, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    memory = order.memory_bytes or quantities.memory_bytes(settings.default_memory)
    config: dict[str, Any] = {
        "Mounts": mounts,
        "NetworkMode": _network(order),
        "Memory": memory,
        # Equal to memory: else as much again as swap.
        "MemorySwap": memory,
        "PidsLimit": settings.pids_limit,
        "Init": True,
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_SIZE, "max-file": LOG_FILES}},
    }
    if order.cpus:
        config["NanoCpus"] = round(order.cpus * 1e9)
    if order.shm_bytes:
        config["ShmSize"] = order.shm_bytes
    return config


def _network(order: Order) -> str:
    if order.sandbox is not None:
        return f"container:{order.sandbox}"
    return order.networks[0] if order.networks else "default"


def _own_mounts(order: Order, shared: Shared | None) -> list[dict[str, Any]]:
    # No labels on the mount: a volume that is missing must come without them, so that it is noticed.
    found: list[dict[str, Any]] = [
        {"Type": "volume", "Source": name, "Target": target} for name, target in order.volumes
    ]
    if shared is not None:
        found.append({"Type": "bind", "Source": str(shared.out), "Target": files.OUT})
        found += [
            {"Type": "bind", "Source": str(file), "Target": place, "ReadOnly": True}
            for place, file in shared.inputs.items()
        ]
    return found


def _tmpfs(mount: Mount) -> dict[str, Any]:
    chosen: dict[str, int] = {}
    try:
        if "size" in mount.opts:
            chosen["SizeBytes"] = quantities.memory_bytes(mount.opts["size"])
        if "mode" in mount.opts:
            chosen["Mode"] = int(mount.opts["mode"], 8)
    except ValueError as exc:
        raise Unstartable(f"tmpfs at {mount.target}: {exc}", 125) from exc
    return {"Type": "tmpfs", "Target": mount.target, **({"TmpfsOptions": chosen} if chosen else {})}


def _bind(mount: Mount, host_access: HostAccess, are_files_shared: bool) -> dict[str, Any]:
    source = mount.source or ""
    if not are_files_shared:
        raise HostAccessDenied(
            f"{source!r} may not be mounted: this worker does not share files with its Docker, "
            "so it cannot tell where the path leads",
            125,
        )
    real = os.path.realpath(source)
    for path in (source, real):
        permission = bind_permission(path, host_access)
        if not permission.allowed:
            led = "" if real == source else f" (it leads to {real})"
            raise HostAccessDenied(f"{permission.reason}{led}", 125)
    mode = mount.opts.get("mode")
    if mode == "rw" and not permission.writable:
        raise HostAccessDenied(f"{source!r} may be mounted read-only: write mode: ro", 125)
    # The real path, so that a link changed after this check leads nowhere else.
    return {
        "Type": "bind",
        "Source": real,
        "Target": mount.target,
        "ReadOnly": mode == "ro" or not permission.writable,
    }
