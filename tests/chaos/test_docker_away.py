"""A daemon that goes away: its node says so and takes nothing; when it is back, all goes on by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.states import LinkState, NodeState, TaskState
from tests.support.docker_daemon import BUSYBOX, Daemon, require_docker
from tests.support.fleet import Fleet, a_fleet
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
def away(
    sqlite_url: str, tmp_path: Path, folder: Path, redis_server: RedisServer
) -> Iterator[tuple[Fleet, Daemon]]:
    """A fleet over a daemon of its own, which leaves its containers running when it ends."""
    require_docker(BUSYBOX)
    with Daemon(folder, live_restore=True) as daemon:
        saved = subprocess.run(["docker", "save", BUSYBOX], capture_output=True, check=True, timeout=60)
        subprocess.run(
            ["docker", "-H", daemon.host, "load"],
            input=saved.stdout,
            check=True,
            timeout=60,
            capture_output=True,
        )
        with a_fleet(
            tmp_path, sqlite_url, redis_server, docker_host=daemon.host, docker_timeout=2.0
        ) as fleet:
            yield fleet, daemon
            daemon.start()


def test_work_waits_for_a_daemon_that_went_away_and_then_goes_on(away: tuple[Fleet, Daemon]) -> None:
    fleet, daemon = away
    fleet.worker("-c", "2")
    (running,) = fleet.submit("name: runs on\nimage: busybox:1.36\nrun: 'sleep 8; echo done'\n")
    wait_until(lambda: fleet.links(running) and fleet.links(running)[0].state is LinkState.CONFIRMED, 20)
    before = fleet.links(running)[0].container_id
    wait_until(lambda: [t for t in fleet.left_over() if t.state == "running"], 20)
    daemon.stop()
    wait_until(lambda: [(n.state, n.docker_ok) for n in fleet.nodes()] == [(NodeState.LIVE, False)], 20)
    (waiting,) = fleet.submit("name: waits\nimage: busybox:1.36\ncmd: ['true']\n")
    wait_until(lambda: fleet.task(waiting).state is TaskState.SCHEDULED, 10)
    daemon.start()
    ended = fleet.ended([running, waiting], 40)
    assert {task.state for task in ended} == {TaskState.COMPLETED}
    assert {(task.attempt, task.crashes) for task in ended} == {(1, 0)}
    assert fleet.links(running)[0].container_id == before, "the same container went on"
    assert fleet.log(running) == "done\n"
    assert [(n.state, n.docker_ok) for n in fleet.nodes()] == [(NodeState.LIVE, True)]
