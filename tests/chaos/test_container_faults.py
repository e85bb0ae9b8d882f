"""Containers, volumes and images that others kill or remove, and a task that kills its workers."""

from __future__ import annotations

import subprocess
import uuid

import pytest

from engine.model.states import LinkState, TaskState
from tests.support.databases import free_port
from tests.support.fleet import Fleet
from tests.support.server_faults import completed_once
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

SLOW = "name: slow\nimage: busybox:1.36\nrun: 'sleep 4; echo -n done > $FERRYMAN_OUTPUT'\n"
QUICK = "name: quick\nimage: busybox:1.36\ncmd: ['true']\n"
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
def test_a_container_killed_from_outside_is_an_end_that_says_so(on_sqlite: Fleet) -> None:
    fleet = on_sqlite
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(SLOW)
    _docker("kill", _running_container(fleet, task_id))
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.crashes) == (TaskState.FAILED, 1, 0)
    assert "killed from outside by SIGKILL" in (task.error or ""), task.error
    assert len([e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == TaskState.FAILED]) == 1
    wait_until(lambda: not fleet.left_over(), 30)


def test_a_container_removed_in_mid_run_runs_again(on_sqlite: Fleet) -> None:
    fleet = on_sqlite
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(SLOW)
    _docker("rm", "-f", _running_container(fleet, task_id))
    completed_once(fleet, [task_id], 90, "done")


@pytest.mark.long
def test_a_volume_removed_between_two_links_starts_the_chain_again(on_sqlite: Fleet) -> None:
    fleet = on_sqlite
    doomed = fleet.worker("-c", "1", FERRYMAN_FAILPOINT="finish.committed")
    (task_id,) = fleet.submit(TWO_LINKS)
    assert doomed.process.wait(30) == -9
    runtime = fleet.runtime()
    runtime.remove(runtime.list())
    assert not fleet.left_over()
    fleet.worker("-c", "1")
    completed_once(fleet, [task_id], 90, "kept")
    assert [link.name for link in fleet.links(task_id) if link.state is LinkState.ENDED].count("write") == 2


@pytest.mark.long
def test_an_image_removed_in_mid_run_is_missed_by_nobody_and_then_said(on_sqlite: Fleet) -> None:
    fleet = on_sqlite
    image = f"127.0.0.1:{free_port()}/{uuid.uuid4().hex[:12]}:1"  # a registry that nobody is
    _docker("tag", "busybox:1.36", image)
    fleet.worker("-c", "1")
    (running,) = fleet.submit(SLOW.replace("busybox:1.36", image))
    _running_container(fleet, running)
    _docker("rmi", "-f", image)
    completed_once(fleet, [running], 90, "done")
    # A link that starts now must pull the image, and no registry has it: the task fails with a message.
    (later,) = fleet.submit(SLOW.replace("busybox:1.36", image))
    (task,) = fleet.ended([later], 60)
    assert (task.state, task.attempt) == (TaskState.FAILED, 1)
    assert image in (task.error or ""), task.error


@pytest.mark.long
def test_a_task_that_kills_each_of_its_workers_fails_and_others_go_on(on_sqlite: Fleet) -> None:
    fleet = on_sqlite
    (poison,) = fleet.submit(QUICK)
    for _ in range(2):
        # Every worker dies at this point, including one that took over a started container.
        doomed = fleet.worker("-c", "1", wait=False, FERRYMAN_FAILPOINT="go.ended", FERRYMAN_MAX_CRASHES="2")
        assert doomed.process.wait(60) == -9, doomed.output()
    fleet.worker("-c", "1", FERRYMAN_MAX_CRASHES="2")
    others = fleet.submit(QUICK, 3)
    (task,) = fleet.ended([poison], 60)
    assert (task.state, task.attempt) == (TaskState.FAILED, 1), fleet.story(poison)
    assert "2" in (task.error or "") and "worker" in (task.error or ""), task.error
    completed_once(fleet, others, 60)
