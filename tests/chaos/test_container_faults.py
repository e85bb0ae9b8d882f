"""Containers and volumes that others kill or remove."""

from __future__ import annotations

import subprocess

import pytest

from engine.model.states import LinkState, TaskState
from tests.support.faults import completed_once
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

SLOW = "name: slow\nimage: busybox:1.36\nrun: 'sleep 4; echo -n done > $FERRYMAN_OUTPUT'\n"
TWO_LINKS = """
name: two links
image: busybox:1.36
volumes: [/data]
run: cat /data/pre > $FERRYMAN_OUTPUT
pre:
  - {name: write, image: "busybox:1.36", run: "echo -n kept > /data/pre"}
"""


def _docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True, timeout=60)


def _running_container(fleet: Fleet, task_id: str) -> str:
    def found() -> str | None:
        rows = [link for link in fleet.links(task_id) if link.state is LinkState.CONFIRMED]
        alive = [thing for thing in fleet.left_over() if thing.state == "running"]
        return rows[-1].container_id if rows and alive else None

    return str(wait_until(found, 30))


@pytest.mark.long
def test_a_container_killed_from_outside_is_an_end_that_says_so(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(SLOW)
    _docker("kill", _running_container(fleet, task_id))
    (task,) = fleet.ended([task_id], 30)
    assert (task.state, task.attempt, task.crashes) == (TaskState.FAILED, 1, 0)
    assert "killed from outside by SIGKILL" in (task.error or ""), task.error
    assert len([e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == TaskState.FAILED]) == 1
    wait_until(lambda: not fleet.left_over(), 30)


def test_a_container_removed_in_mid_run_runs_again(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(SLOW)
    _docker("rm", "-f", _running_container(fleet, task_id))
    completed_once(fleet, [task_id], 40, "done")


@pytest.mark.long
def test_a_volume_removed_between_two_links_starts_the_chain_again(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    doomed = fleet.worker("-c", "1", FERRYMAN_CRASH_POINT="finish.committed")
    (task_id,) = fleet.submit(TWO_LINKS)
    assert doomed.process.wait(30) == -9
    runtime = fleet.runtime()
    runtime.remove(runtime.list())
    assert not fleet.left_over()
    fleet.worker("-c", "1")
    completed_once(fleet, [task_id], 60, "kept")
    assert [link.name for link in fleet.links(task_id) if link.state is LinkState.ENDED].count("write") == 2
