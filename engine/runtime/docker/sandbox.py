"""Sandboxes: containers that only keep a network namespace open, for the links of one attempt to join.

A new namespace is about half of the cost of a small container. A link that joins a sandbox made ahead starts in less
than half the time. The sandbox's image is imported here: a program of 129 bytes that pauses for ever.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError, NotFound

from engine import failpoints
from engine.errors import ErrorAnswer, MachineFault, SandboxGone, Unstartable
from engine.model import names
from engine.runtime.base import Order
from engine.runtime.docker import container, labels, pulse
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.files import tar_of
from engine.runtime.docker.host import Host

log = logging.getLogger(__name__)

REPOSITORY, TAG = "ferryman-sandbox", "1"
IMAGE = f"{REPOSITORY}:{TAG}"
_PROGRAM_PATH = "/pause"
#: nobody, as a number, because the image has no /etc/passwd.
_USER = "65534:65534"
#: The program takes 0.6 MB; but runc, which starts it, is counted too, and a newer runc was seen to take 13 MB.
_MEMORY = 32 << 20
_PIDS = 8
#: A closed connection leaves nothing behind: TIME_WAIT would keep a port of one link from the next for a minute.
_NO_TRACES = {"net.ipv4.tcp_max_tw_buckets": "0"}
#: A trial container that a broken runtime ends at once has ended by then.
_TRIAL_SECONDS = 0.2
_START = 0x400000
#: Docker's name of the architecture -> machine number of the ELF header, and code that pauses in a loop.
_CODE = {
    # mov eax, 34 (pause); syscall; jmp to the start
    "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # mov x0..x3, 0; mov x8, 73 (ppoll, because there is no pause); svc 0; b to the start
    "arm64": (
        183,
        struct.pack("<7I", *(0xD2800000 + n for n in range(4)), 0xD2800928, 0xD4000001, 0x17FFFFFA),
    ),
}
#: So often a sandbox started without the sysctls that it was refused with: then they are left out for good.
_REFUSED_FOR_GOOD = 3


def program(architecture: str) -> bytes | None:
    """Return a static program that only pauses, as an ELF file; None for an architecture without code here."""
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

    def __init__(self, host: Host) -> None:
        self._host = host
        self._client = host.client
        self._sysctls = dict(_NO_TRACES)
        self._refused_sysctls = 0

    def make(self, name: str, node_id: str) -> None:
        """Create and start a sandbox on the default network. See engine.runtime.base."""
        with self._host.activity.busy(), translated("making a sandbox"):
            try:
                self._start_first(name, node_id)
            except APIError as exc:
                raise MachineFault(f"Docker refuses to make a sandbox: {message_of(exc)}") from exc

    def why_not_joined(self, name: str, node_id: str) -> str | None:
        """Make a second container join the sandbox's namespace once. See engine.runtime.base."""
        trial = f"{name}-trial"
        with self._host.activity.busy():
            try:
                with translated("joining a sandbox"):
                    self._start(trial, self._body(f"container:{name}", node_id))
                if is_running(self._client, trial):
                    return None
                reason = "a container that joined another container's network stopped at once"
            except APIError as exc:
                reason = message_of(exc)
            finally:
                self._remove_trial(trial)
        if fault := self.why_not_started(trial, node_id):
            # No container starts at present: nothing is learnt about joining.
            raise MachineFault(fault)
        return reason

    def why_not_started(self, name: str, node_id: str) -> str:
        """Start a container on the default network, with docker-init, as tasks have. See engine.runtime.base."""
        body = self._body("default", node_id)
        body["HostConfig"] |= {"Init": True, "LogConfig": {"Type": "json-file"}}
        with self._host.activity.busy():
            try:
                with translated("starting a trial container"):
                    self._start(name, body)
                time.sleep(_TRIAL_SECONDS)
                return "" if is_running(self._client, name) else "a trial container stopped at once"
            except APIError as exc:
                return f"Docker cannot start a trial container: {message_of(exc)}"
            finally:
                self._remove_trial(name)

    def remove(self, name: str) -> bool:
        """See engine.runtime.base."""
        with self._host.activity.busy():
            return remove(self._client, name)

    def _remove_trial(self, name: str) -> None:
        try:
            container.remove(self._client, name, force=True)
        except ErrorAnswer as exc:
            # The trial has its answer; the sweep removes the container.
            self._host.troubles.failed("sandbox", name, str(exc))

    def is_idle(self, seconds: float) -> bool:
        """See engine.runtime.base."""
        return self._host.activity.is_idle_for(seconds)

    def _start_first(self, name: str, node_id: str) -> None:
        """Start a sandbox with a namespace of its own; without sysctls where the daemon or the kernel refuses them."""
        body = self._body("default", node_id)
        try:
            self._start(name, body | {"HostConfig": body["HostConfig"] | {"Sysctls": self._sysctls}})
        except APIError as exc:
            if not self._sysctls:
                raise
            container.remove(self._client, name, force=True)
            self._start(name, body)
            self._refused_sysctls += 1
            if self._refused_sysctls < _REFUSED_FOR_GOOD:
                return  # perhaps the daemon's trouble of a moment
            self._sysctls = {}
            log.warning(
                "sandboxes are made without %s, which this Docker refuses (%s): a port that a link has closed may "
                "be taken for a minute",
                ", ".join(_NO_TRACES),
                message_of(exc),
            )

    def _body(self, network: str, node_id: str) -> dict[str, Any]:
        return _body(network, labels.of_sandbox(self._host.installation, node_id))

    def _start(self, name: str, body: Mapping[str, Any]) -> None:
        try:
            made = self._client.api.create_container_from_config(body, name)
        except NotFound:
            _import_image(self._client)
            made = self._client.api.create_container_from_config(body, name)
        self._client.api.start(made["Id"])


def is_running(client: Client, name: str) -> bool:
    """Return True if the sandbox keeps its namespace open. Raises RuntimeUnavailable."""
    state = container.inspect(client, name)
    return state is not None and state.status == "running"


def raise_if_died(client: Client, order: Order, reason: object) -> None:
    """Raise SandboxGone if Docker refused a link because its sandbox does not run; the state decides, not `reason`.

    A sandbox whose shim was killed is called running too, and has no process.
    """
    if order.sandbox is None:
        return
    state = container.inspect(client, order.sandbox)
    if state is None or state.status != "running" or not pulse.is_alive(client, state):
        raise SandboxGone(f"the sandbox {order.sandbox} does not run: {reason}")


def remove(client: Client, name: str) -> bool:
    """Remove a sandbox by force; return True when it is gone."""
    is_gone = container.remove(client, name, force=True)
    failpoints.hit("sandbox.removed")
    return is_gone


def _body(network: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Image": IMAGE,
        "User": _USER,
        "Labels": dict(labels),
        # The program handles no signal: a daemon that shuts down would wait for it.
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


def _import_image(client: Client) -> None:
    architecture = str(client.api.version()["Arch"])
    code = program(architecture)
    if code is None:
        raise Unstartable(f"sandboxes are not available for {architecture}, only for {', '.join(_CODE)}")
    answer = client.api.import_image_from_data(
        tar_of({_PROGRAM_PATH: (code, 0o755)}),
        repository=REPOSITORY,
        tag=TAG,
        changes=[f'ENTRYPOINT ["{_PROGRAM_PATH}"]', f"LABEL {names.KIND}=sandbox"],
    )
    if '"error"' in str(answer):
        raise MachineFault(f"Docker does not take the sandbox's image: {answer}")
    log.info("made the image %s (%d bytes) for sandboxes", IMAGE, len(code))
