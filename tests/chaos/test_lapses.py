"""Workers that are slow but alive, and workers that return after their lapse: only a lapsed node is fenced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.model.states import NodeState, TaskState
from tests.support.counting_task import (
    assert_ran_once,
    counting_task,
    repairs,
    seconds_since,
    wait_until_counting,
)
from tests.support.databases import running_postgres
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import DEFAULTS, Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.server_faults import lasting
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

#: Promised with a lease of 1 s: 4 s; the rest is for a machine under load.
LONGEST_SECONDS = 10


@pytest.mark.parametrize("lines", [80, pytest.param(30, marks=pytest.mark.long)])
def test_a_worker_that_slept_through_its_lease_is_fenced_and_serves_again(
    sqlite_fleet: Fleet, lines: int
) -> None:
    fleet = sqlite_fleet
    sleeper = fleet.worker("-c", "1")
    other = fleet.worker("-Q", "other", "-c", "1")
    (task_id,) = fleet.submit(counting_task(lines))
    container = wait_until_counting(fleet, task_id)
    (former,) = [node for node in fleet.nodes() if node.name == sleeper.name]
    os.killpg(sleeper.process.pid, signal.SIGSTOP)
    stopped = time.time()
    (adopted,) = wait_until(lambda: repairs(fleet, task_id), 30)
    assert seconds_since(stopped, adopted) < LONGEST_SECONDS
    assert {n.id: n.name for n in fleet.nodes()}[adopted.node or ""] == other.name
    if lines == 30:
        fleet.ended([task_id], 40)  # it wakes when all is over
    os.killpg(sleeper.process.pid, signal.SIGCONT)
    wait_until(lambda: _live(fleet, sleeper.name) - {former.id}, 30)
    fleet.ended([task_id], 40)
    assert_ran_once(fleet, task_id, lines, container)
    assert fleet.task(task_id).crashes == 1
    assert len(repairs(fleet, task_id, "")) == 1, "taken over once, by one"
    (again,) = fleet.submit(counting_task(1))
    (served,) = fleet.ended([again], 30)
    assert served.crashes == 0
    assert f"node {former.id[:8]} was fenced" in sleeper.output()
    wait_until(lambda: not fleet.left_over(), 20)


def _live(fleet: Fleet, name: str) -> set[str]:
    return {node.id for node in fleet.nodes() if node.name == name and node.state is NodeState.LIVE}


@pytest.mark.long
def test_with_the_default_lease_the_killed_are_adopted_and_the_living_are_not(
    sqlite_url: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, sqlite_url, redis_server, **DEFAULTS) as fleet:
        doomed = fleet.worker("-c", "1")
        other = fleet.worker("-Q", "other", "-c", "1")
        (task_id,) = fleet.submit(counting_task(150))
        container = wait_until_counting(fleet, task_id)
        os.killpg(doomed.process.pid, signal.SIGSTOP)
        lasting(2)  # less than half of the lease
        os.killpg(doomed.process.pid, signal.SIGCONT)
        assert not repairs(fleet, task_id, ""), "a pause within the lease is none"
        killed = time.time()
        doomed.kill()
        (adopted,) = wait_until(lambda: repairs(fleet, task_id), 40)
        assert seconds_since(killed, adopted) < 8 + LONGEST_SECONDS
        assert {n.id: n.name for n in fleet.nodes()}[adopted.node or ""] == other.name
        fleet.ended([task_id], 60)
        assert_ran_once(fleet, task_id, 150, container)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_database_away_for_longer_than_the_lease_costs_ten_tasks_nothing(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    require_docker(BUSYBOX)
    # The shorter ones end while it is away, the longer ones after it is back.
    lines = [300 + 40 * number for number in range(10)]
    with running_postgres() as server, running_fleet(tmp_path, server.new(), redis_server) as fleet:
        fleet.worker("-c", "5")
        fleet.worker("-c", "5")
        ids = [fleet.submit(counting_task(count))[0] for count in lines]
        containers = {task_id: wait_until_counting(fleet, task_id) for task_id in ids}
        running = sum(fleet.task(task_id).state is TaskState.RUNNING for task_id in ids)
        assert running >= 7, "all ten, unless this machine is very slow"
        server.stop()
        lasting(30 * fleet.settings.cluster.lease_seconds)
        server.start()
        back = time.monotonic()
        fleet.ended(ids, 150)
        print(f"{time.monotonic() - back:.1f} s from its return to the last end")
        for task_id, count in zip(ids, lines, strict=True):
            assert_ran_once(fleet, task_id, count, containers[task_id])
            assert fleet.task(task_id).crashes == 0
            assert not repairs(fleet, task_id, "adopted")
            assert not repairs(fleet, task_id, "started again")
        assert [node.state for node in fleet.nodes()] == [NodeState.LIVE] * 2, "nobody was fenced"


def _wall_clock(environment: dict[str, Any]) -> float:
    words = [sys.executable, "-c", "import time; print(time.time())"]
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, timeout=20, check=True
    )
    return float(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("jump", ["+1h", "-1h"])
def test_a_wall_clock_that_jumps_an_hour_lapses_nobody(
    sqlite_url: str, tmp_path: Path, redis_server: RedisServer, jump: str
) -> None:
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        pytest.skip("libfaketime is not installed: deploy/test --long installs it")
    require_docker(BUSYBOX)
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    # A longer lease: a process under libfaketime reads a file at each look at the clock, and is slow.
    with running_fleet(tmp_path, sqlite_url, redis_server, lease_seconds=5.0) as fleet:
        faked: dict[str, Any] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        jumping = fleet.worker("-c", "1", **faked)
        fleet.worker("-Q", "other", "-c", "1")
        (task_id,) = fleet.submit(counting_task(150))
        container = wait_until_counting(fleet, task_id)
        clock.write_text(f"{jump}\n")
        assert abs(_wall_clock(faked) - time.time()) > 3000, "the clock of such a process jumped"
        fleet.ended([task_id], 60)
        assert_ran_once(fleet, task_id, 150, container)
        assert not repairs(fleet, task_id, "")
        assert [node.state for node in fleet.nodes()] == [NodeState.LIVE] * 2
        assert jumping.process.poll() is None
