"""Docker cannot remove some containers, or takes long: workers start and serve all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.states import TaskState
from engine.runtime.base import Control
from tests.support.docker_daemon import KeepingSink, an_order
from tests.support.faulty_docker import FaultyDocker
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

QUICK = "name: quick\nimage: busybox:1.36\ncmd: ['true']\n"
REMOVALS = rb"DELETE \S+/containers/"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[FaultyDocker]:
    """Return the proxy between a worker and the daemon."""
    proxy = FaultyDocker(tmp_path)
    yield proxy
    proxy.close()


def leave_containers(fleet: Fleet, count: int) -> None:
    """Leave containers of tasks that nobody knows, as a worker does that dies before it removes them."""
    runtime = fleet.runtime()
    for _ in range(count):
        order = an_order(fleet.installation.id, run="true")
        runtime.prepare(order, KeepingSink(), Control())


@pytest.mark.parametrize("fault", ["500", "delay"])
def test_a_worker_is_live_and_serves_although_docker_removes_nothing(
    sqlite_fleet: Fleet, proxy: FaultyDocker, fault: str
) -> None:
    fleet = sqlite_fleet
    leave_containers(fleet, 4)
    proxy.arm(REMOVALS, fault, 100_000)
    worker = fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=proxy.url, FERRYMAN_LOG_LEVEL="INFO")
    ids = fleet.submit(QUICK, 3)
    tasks = fleet.ended(ids, 60)
    assert [(task.state, task.attempt, task.crashes) for task in tasks] == [(TaskState.COMPLETED, 1, 0)] * 3
    assert len({task.node for task in tasks}) == 1, "the node was not fenced"
    if fault == "500":

        def tell() -> list[str]:
            return [line for line in worker.output().splitlines() if "troubles: container ferryman-" in line]

        told = wait_until(lambda: told if len(told := tell()) >= 7 else None, 30)
        assert len(told) == 7, told
        assert all("a fault of the daemon" in line for line in told)
    proxy.arm(b"nothing", "500", 0)
    wait_until(lambda: not fleet.left_over(), 60)
