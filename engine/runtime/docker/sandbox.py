"""Sandboxes: containers that only keep a network namespace open, for the links of one attempt to join (DESIGN 3a).

A new namespace is about half of what a small container costs; joined to one that was made ahead, a link starts in
less than half the time. The sandbox's image is made here, by an import: a program of 129 bytes that pauses for ever.
"""

from __future__ import annotations

import io
import logging
import struct
import tarfile
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError, NotFound

from engine import failpoints
from engine.errors import RuntimeUnavailable, Unstartable
from engine.model import names
from engine.runtime.docker import container, labels
from engine.runtime.docker.activity import Activity
from engine.runtime.docker.client import Client, translated, words

log = logging.getLogger(__name__)

REPOSITORY, TAG = "ferryman-sandbox", "1"
IMAGE = f"{REPOSITORY}:{TAG}"
_PLACE = "/pause"
#: nobody, as a number: the image has no /etc/passwd.
_USER = "65534:65534"
#: What it takes is 0.6 MB; but runc, which begins it, is counted too, and of a newer one 13 MB were seen.
_MEMORY = 32 << 20
_PIDS = 8
_START = 0x400000
#: Machine number of the ELF header, and code that pauses again and again, by Docker's name of the architecture.
_CODE = {
    # mov eax, 34 (pause); syscall; jmp to the start
    "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # mov x0..x3, 0; mov x8, 73 (ppoll, for there is no pause); svc 0; b to the start
    "arm64": (
        183,
        struct.pack("<7I", *(0xD2800000 + n for n in range(4)), 0xD2800928, 0xD4000001, 0x17FFFFFA),
    ),
}


def program(architecture: str) -> bytes | None:
    """A static program that only pauses, as an ELF file; None for an architecture that we have no code for."""
    if architecture not in _CODE:
        return None
    machine, code = _CODE[architecture]
    header, segment = 64, 56
    entry, size = _START + header + segment, header + segment + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    elf = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, header, 0, 0, header, segment, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _START, _START, size, size, 0x1000)
    return ident + elf + load + code


class DockerSandboxes:
    """`engine.runtime.base.Sandboxes` on one Docker daemon. Thread-safe."""

    def __init__(self, client: Client, installation: str, activity: Activity) -> None:
        self._client = client
        self._installation = installation
        self._activity = activity

    def make(self, name: str, node_id: str) -> None:
        """Create and start a sandbox on the default network. See engine.runtime.base."""
        try:
            with self._activity.busy(), translated("making a sandbox"):
                self._start(name, "default", node_id)
        except APIError as exc:
            raise Unstartable(f"Docker refuses to make a sandbox: {words(exc)}") from exc

    def why_not_joined(self, name: str, node_id: str) -> str | None:
        """Have a second container join the sandbox's namespace once. See engine.runtime.base."""
        trial = f"{name}-trial"
        with self._activity.busy():
            try:
                with translated("joining a sandbox"):
                    self._start(trial, f"container:{name}", node_id)
                if is_running(self._client, trial):
                    return None
                return "a container that joined another container's network stopped at once"
            except APIError as exc:
                return words(exc)
            finally:
                container.remove(self._client, trial, force=True)

    def remove(self, name: str) -> bool:
        """See engine.runtime.base."""
        is_gone = container.remove(self._client, name, force=True)
        failpoints.hit("sandbox.removed")
        return is_gone

    def is_idle(self, seconds: float) -> bool:
        """See engine.runtime.base."""
        return self._activity.is_idle_for(seconds)

    def _start(self, name: str, network: str, node_id: str) -> None:
        body = _body(network, labels.of_sandbox(self._installation, node_id))
        try:
            made = self._client.api.create_container_from_config(body, name)
        except NotFound:
            _import(self._client)
            made = self._client.api.create_container_from_config(body, name)
        self._client.api.start(made["Id"])


def is_running(client: Client, name: str) -> bool:
    """Whether the sandbox keeps its namespace open. Raises RuntimeUnavailable."""
    state = container.inspect(client, name)
    return state is not None and state.status == "running"


def _body(network: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Image": IMAGE,
        "User": _USER,
        "Labels": dict(labels),
        # It hears no other signal; a daemon that ends would wait for it.
        "StopSignal": "SIGKILL",
        "HostConfig": {
            "NetworkMode": network,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": _PIDS,
            "Memory": _MEMORY,
            "MemorySwap": _MEMORY,
            "LogConfig": {"Type": "none"},
        },
    }


def _import(client: Client) -> None:
    architecture = str(client.api.version()["Arch"])
    code = program(architecture)
    if code is None:
        raise Unstartable(f"there is no sandbox for {architecture}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(_PLACE.lstrip("/"))
        info.mode, info.size = 0o755, len(code)
        tar.addfile(info, io.BytesIO(code))
    said = client.api.import_image_from_data(
        packed.getvalue(),
        repository=REPOSITORY,
        tag=TAG,
        changes=[f'ENTRYPOINT ["{_PLACE}"]', f"LABEL {names.KIND}=sandbox"],
    )
    if '"error"' in str(said):
        raise RuntimeUnavailable(f"Docker does not take the sandbox's image: {said}")
    log.info("made the image %s (%d bytes), for sandboxes of network namespaces", IMAGE, len(code))
