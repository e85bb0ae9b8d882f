"""Capabilities of containers: no device nodes, raw sockets or file capabilities unless the operator keeps them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.runtime.base import Order
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import run

Orders = Callable[..., Order]

#: A block device node, as a task would make it for a process of the host that can look into its root directory.
MAKE_A_NODE = "mknod /tmp/disk b 7 0 2>/dev/null && echo made || echo refused"
BOUNDING_SET = "sed -n 's/^CapBnd:\\t//p' /proc/self/status"
#: Bits of MKNOD, NET_RAW, AUDIT_WRITE and SETFCAP (capabilities(7)).
DROPPED_BITS = 1 << 27 | 1 << 13 | 1 << 29 | 1 << 31


def test_a_container_cannot_make_device_nodes(runtime: DockerRuntime, order: Orders) -> None:
    assert run(runtime, order(run=MAKE_A_NODE)).result == "refused\n"


def test_a_container_cannot_open_raw_sockets(runtime: DockerRuntime, order: Orders) -> None:
    ping = "ping -c 1 127.0.0.1 2>&1 >/dev/null; true"
    assert "permission denied" in (run(runtime, order(run=ping)).result or "")


def test_the_dropped_capabilities_cannot_be_gained(runtime: DockerRuntime, order: Orders) -> None:
    assert int(run(runtime, order(run=BOUNDING_SET)).result or "", 16) & DROPPED_BITS == 0


@pytest.mark.parametrize(("kept", "result"), [(("MKNOD",), "made\n"), (("NET_RAW",), "refused\n")])
def test_an_operator_keeps_what_the_setting_names(
    make_runtime: Callable[..., DockerRuntime],
    runtime: DockerRuntime,
    order: Orders,
    kept: tuple[str, ...],
    result: str,
) -> None:
    widened = make_runtime(keep_capabilities=kept)
    assert run(widened, order(run=MAKE_A_NODE)).result == result
