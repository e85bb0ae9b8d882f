"""Hosts for tests: network namespaces behind a wire that can drop packets silently.

    here 10.x.y.1 ── 10.x.y.2 wire 10.x.y.5 ── 10.x.y.6 first host
                                   10.x.y.9 ── 10.x.y.10 second host

The wire is a namespace that forwards packets. A cut is an iptables rule in the wire: senders get no error and no
answer, and the rules of this host do not change. All hosts share files and unix sockets.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Worker
from tests.support.waiting import wait_until


@dataclass
class Host:
    """Network namespace whose only route leads over the wire."""

    name: str
    address: str
    _wire: str
    _rules: list[list[str]] = field(default_factory=list)

    @property
    def within(self) -> tuple[str, ...]:
        """Return the prefix of a command that runs in this namespace; nsenter keeps the process id."""
        return _within(self.name)

    def worker(self, fleet: Fleet, *words: str, **environment: str) -> Worker:
        """Start a worker of the fleet in this namespace; wait until its node is LIVE."""
        module = "tests.support.namespaced_worker"
        return fleet.worker(*words, module=module, NAMESPACE=self.name, **environment)

    def cut(self, *ports: int) -> None:
        """Drop all packets to and from these TCP ports, or all packets if no port is given."""
        for port in map(str, ports):
            self._drop("-s", self.address, "-p", "tcp", "--dport", port)
            self._drop("-d", self.address, "-p", "tcp", "--sport", port)
        if not ports:
            self._drop("-s", self.address)
            self._drop("-d", self.address)

    def _drop(self, *rule: str) -> None:
        _call(*_within(self._wire), "iptables", "-A", "FORWARD", *rule, "-j", "DROP")
        self._rules.append(list(rule))

    def heal(self) -> None:
        """Let all packets through again."""
        while self._rules:
            _call(*_within(self._wire), "iptables", "-D", "FORWARD", *self._rules[-1], "-j", "DROP")
            self._rules.pop()


class Wire:
    """Namespace between this host and the test hosts; test hosts reach servers of this host at `address`."""

    def __init__(self, name: str, network: str, undo: ExitStack) -> None:
        self.name = name
        self._network = network
        self._undo = undo
        self._hosts = 0
        self.address = f"{network}.1"

    def host(self) -> Host:
        """Create another host behind the wire."""
        self._hosts += 1
        number, name = self._hosts, f"{self.name}{self._hosts}"
        near, far = f"{self._network}.{4 * number + 1}", f"{self._network}.{4 * number + 2}"
        _make(name, self._undo)
        _call(*_words(f"ip link add eth0 netns {name} type veth peer name w{number} netns {self.name}"))
        _up(self.name, f"w{number}", near)
        _up(name, "eth0", far)
        _call(*_words(f"ip -n {name} link set lo up"))
        _call(*_words(f"ip -n {name} route add default via {near}"))
        return Host(name, far, self.name)


@contextmanager
def running_wire() -> Iterator[Wire]:
    """Create a wire without hosts; at the end kill all processes behind it and remove it.

    Skips if network namespaces are not available: they need root, ip, iptables and nsenter.
    """
    needed = ("ip", "iptables", "nsenter")
    if os.geteuid() or not all(map(shutil.which, needed)):
        pytest.skip(f"network namespaces need root and {', '.join(needed)}")
    name, network = f"fn{uuid.uuid4().hex[:8]}", _free_network()
    with ExitStack() as undo:
        _make(name, undo)
        # The device is removed with its other end, which is in the namespace.
        _call(*_words(f"ip link add {name} type veth peer name w0 netns {name}"))
        _call(*_words(f"ip addr add {network}.1/30 dev {name}"))
        _call(*_words(f"ip link set {name} up"))
        _up(name, "w0", f"{network}.2")
        _call(*_words(f"ip route add {network}.0/24 via {network}.2"))
        _call(*_within(name), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield Wire(name, network, undo)


def _make(name: str, undo: ExitStack) -> None:
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this root cannot create network namespaces: {made.stderr.strip()}")
    undo.callback(_unmake, name)


def _unmake(name: str) -> None:
    for pid in _processes(name):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _processes(name), 20)
    _call("ip", "netns", "del", name)


def _processes(name: str) -> list[int]:
    done = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, timeout=20, check=True
    )
    return [pid for pid in map(int, done.stdout.split()) if not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True  # the process has ended


def _up(namespace: str, device: str, address: str) -> None:
    _call(*_words(f"ip -n {namespace} addr add {address}/30 dev {device}"))
    _call(*_words(f"ip -n {namespace} link set {device} up"))


def _free_network() -> str:
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, timeout=20, check=True).stdout
    networks = (f"10.{random.randint(64, 127)}.{random.randint(0, 255)}" for _ in range(100))
    return next(network for network in networks if f"{network}." not in routes)


def _within(name: str) -> tuple[str, ...]:
    # Not `ip netns exec`, because its /sys has no cgroups, which dockerd needs.
    return ("nsenter", f"--net=/run/netns/{name}", "--")


def _words(text: str) -> list[str]:
    return text.split()


def _call(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert not done.returncode, f"{' '.join(command)}: {done.stderr}"
