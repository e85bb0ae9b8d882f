"""Drained worker of a stand-alone: it stays down until the next start, and the other workers go on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.standalone import FERRYMAN, ferryman, standalone
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker
SLEEP = f"name: rest\nimage: {BUSYBOX}\nqueue: press\ncmd: [sleep, '4']\n"
HELLO = f"name: say hello\nimage: {BUSYBOX}\ncmd: [echo, -n, hello world]\n"
QUEUES = ("--queue", "default:1", "--queue", "press:1")


@pytest.mark.long
def test_a_drained_worker_stays_down_until_the_next_start_and_the_others_go_on(tmp_path: Path) -> None:
    require_docker(BUSYBOX)
    with standalone(tmp_path, *QUEUES) as server:
        client = server.client
        held = client.submit(SLEEP.encode())["id"]
        wait_until(lambda: server.containers("running"), 40, 0.1)
        with subprocess.Popen(
            [*FERRYMAN, "drain", "press"], env=server.env, stdout=-1, text=True
        ) as draining:
            assert draining.stdout
            assert "  LEAVING  press-" in draining.stdout.readline()
            waiting = client.submit(SLEEP.encode())["id"]
            assert draining.wait(60) == 0
            assert draining.stdout.read().splitlines()[-1].endswith("  LEFT")
        ended = client.task(held)
        assert (ended["state"], ended["attempt"], ended["crashes"]) == ("COMPLETED", 1, 0)
        line = "worker/press     left in order (drained or stopped); it stays down until the next start"
        wait_until(lambda: line in server.output, 10)
        hello = client.submit(HELLO.encode())["id"]
        wait_until(lambda: client.task(hello)["state"] == "COMPLETED", 40, 0.1)
        doctor = ferryman("doctor", env=server.env).stdout
        assert "  warn  queue press " in doctor and "1 task waiting, but no worker serves the queue" in doctor
        assert client.task(waiting)["state"] in ("PENDING", "SCHEDULED")
        assert len([line for line in server.children().values() if " worker " in line]) == 1
        assert "restarts in" not in server.output
        assert server.stop() == 0
    with standalone(tmp_path, *QUEUES) as again:
        wait_until(lambda: again.client.task(waiting)["state"] == "COMPLETED", 60, 0.2)
