"""containerd and a shim are killed under a running link: its slot is not held for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.states import TaskState
from engine.runtime.docker.client import Client
from tests.support.docker_daemon import (
    BUSYBOX,
    Daemon,
    provide,
    require_docker,
    second_daemon_possible,
    seconds_since,
)
from tests.support.fleet import Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400), pytest.mark.long]

#: The first run hangs; the second finds the mark of the first in the volume, and ends.
TASK = """
name: hangs once
image: busybox:1.36
volumes: [/data]
run: |
  echo begins
  test -e /data/begun && { echo -n done > $FERRYMAN_OUTPUT; exit 0; }
  touch /data/begun
  sleep 600
"""


@pytest.fixture
def own_docker(sqlite_url: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[tuple[Fleet, Daemon]]:
    """Start a fleet over a daemon of its own."""
    require_docker(BUSYBOX)
    if not second_daemon_possible():
        pytest.skip("a second dockerd needs root, dockerd and ip")
    with Daemon(live_restore=False) as daemon:
        provide((BUSYBOX,), daemon.host)
        with running_fleet(tmp_path, sqlite_url, redis_server, docker_host=daemon.host) as fleet:
            yield fleet, daemon


def test_a_link_whose_container_has_no_process_runs_again(
    own_docker: tuple[Fleet, Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, daemon = own_docker
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(TASK)
    wait_until(lambda: fleet.log(task_id) == "begins\n", 30)
    (container,) = [link.container_id for link in fleet.links(task_id)]
    client = Client(daemon.host)
    # By then the first look has come, which learns that processes can be seen.
    wait_until(lambda: seconds_since(client, str(container), "StartedAt") > 2, 10)
    daemon.kill_under(str(container))
    began = time.monotonic()
    (task,) = fleet.ended([task_id], 300)
    with capsys.disabled():
        print(f" ran again and ended {time.monotonic() - began:.0f} s after the kill", end=" ")
    story = fleet.story(task_id)
    assert (task.state, task.attempt, task.crashes, task.result) == (TaskState.COMPLETED, 1, 0, "done"), story
    assert "has no process, although Docker calls it running" in story, "the event gives the reason"
    assert fleet.log(task_id) == "begins\nbegins\n"
    wait_until(lambda: not fleet.left_over(), 60)
