"""A daemon that goes away: its node reports it and takes nothing; when the daemon is back, work continues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.states import LinkState, NodeState, TaskState
from engine.runtime.docker import labels
from engine.runtime.docker.client import Client
from tests.support.counting_task import (
    COUNT_UNTIL_RELEASED,
    assert_ran_once,
    counting_task,
    repairs,
    wait_until_counting,
)
from tests.support.docker_daemon import BUSYBOX, Daemon, provide, require_docker
from tests.support.fleet import Fleet, running_fleet
from tests.support.held_task import release
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def docker_fleet(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path, redis_server: RedisServer
) -> Iterator[tuple[Fleet, Daemon]]:
    """Start a fleet over its own daemon, which leaves its containers running when it ends, unless told not to."""
    require_docker(BUSYBOX)
    with Daemon(live_restore=getattr(request, "param", True)) as daemon:
        provide((BUSYBOX,), daemon.host)
        with running_fleet(
            tmp_path, sqlite_url, redis_server, docker_host=daemon.host, docker_timeout_seconds=2.0
        ) as fleet:
            yield fleet, daemon
            daemon.start()


def test_work_waits_for_a_daemon_that_went_away_and_then_goes_on(
    docker_fleet: tuple[Fleet, Daemon],
) -> None:
    fleet, daemon = docker_fleet
    fleet.worker("-c", "2")
    (running,) = fleet.submit("name: runs on\nimage: busybox:1.36\nrun: 'sleep 8; echo done'\n")
    wait_until(lambda: fleet.links(running) and fleet.links(running)[0].state is LinkState.CONFIRMED, 20)
    before = fleet.links(running)[0].container_id
    wait_until(lambda: [t for t in fleet.left_over() if t.state == "running"], 20)
    daemon.stop()
    wait_until(lambda: [(n.state, n.runtime_ok) for n in fleet.nodes()] == [(NodeState.LIVE, False)], 20)
    (waiting,) = fleet.submit("name: waits\nimage: busybox:1.36\ncmd: ['true']\n")
    wait_until(lambda: fleet.task(waiting).state is TaskState.SCHEDULED, 10)
    daemon.start()
    ended = fleet.ended([running, waiting], 40)
    assert {task.state for task in ended} == {TaskState.COMPLETED}
    assert {(task.attempt, task.crashes) for task in ended} == {(1, 0)}
    assert fleet.links(running)[0].container_id == before, "the same container went on"
    assert fleet.log(running) == "done\n"
    assert [(n.state, n.runtime_ok) for n in fleet.nodes()] == [(NodeState.LIVE, True)]


def _through_kill_9(
    docker_fleet: tuple[Fleet, Daemon], lines: int, is_worker_killed: bool
) -> tuple[str, str]:
    """Kill the daemon, and the worker if asked, under a counting task, and start them again; return the container."""
    fleet, daemon = docker_fleet
    worker = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(counting_task(lines))
    container = wait_until_counting(fleet, task_id)
    daemon.kill()
    if is_worker_killed:
        worker.kill()
    daemon.start()
    if is_worker_killed:
        fleet.worker("-c", "1")
    return task_id, container


@pytest.mark.long
@pytest.mark.parametrize("is_worker_killed", [False, True], ids=["worker lives", "worker killed"])
def test_kill_9_of_a_daemon_with_live_restore_costs_nothing(
    docker_fleet: tuple[Fleet, Daemon], is_worker_killed: bool
) -> None:
    fleet, _ = docker_fleet
    task_id, container = _through_kill_9(docker_fleet, 150, is_worker_killed)
    fleet.ended([task_id], 60)
    assert_ran_once(fleet, task_id, 150, container)
    assert fleet.task(task_id).crashes == is_worker_killed
    wait_until(lambda: not fleet.left_over(), 40)


@pytest.mark.long
@pytest.mark.parametrize("docker_fleet", [False], indirect=True, ids=["no live-restore"])
@pytest.mark.parametrize("is_worker_killed", [False, True], ids=["worker lives", "worker killed"])
def test_kill_9_of_a_daemon_without_live_restore_runs_its_containers_again(
    docker_fleet: tuple[Fleet, Daemon], is_worker_killed: bool
) -> None:
    fleet, _ = docker_fleet
    task_id, before = _through_kill_9(docker_fleet, 100, is_worker_killed)
    (task,) = fleet.ended([task_id], 90)
    said = fleet.story(task_id)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, int(is_worker_killed)), said
    assert fleet.links(task_id)[-1].container_id != before, said
    assert fleet.log(task_id).endswith("".join(f"line {i}\n" for i in range(1, 101))), (
        "once whole, at the end"
    )
    wait_until(lambda: not fleet.left_over(), 40)


def _running_again(fleet: Fleet, task_id: str) -> str:
    """Return the id of the container of the task's second run."""
    wait_until(lambda: fleet.task(task_id).origin == 2, 40)
    (id,) = wait_until(
        lambda: [one.container_id for one in fleet.links(task_id) if one.origin == 2 and one.container_id], 40
    )
    return id or ""


@pytest.mark.long
def test_of_two_daemons_one_killed_for_good_leaves_its_work_to_the_other(
    docker_fleet: tuple[Fleet, Daemon],
) -> None:
    """Kill the daemon of the fixture with its worker; the default daemon keeps serving."""
    fleet, daemon = docker_fleet
    doomed = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(COUNT_UNTIL_RELEASED)
    old = wait_until_counting(fleet, task_id)
    near = fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST="")
    daemon.kill()
    # The worker lives and knows: its tasks wait for its daemon, new tasks go to the other worker.
    wait_until(lambda: [n.runtime_ok for n in fleet.nodes() if n.name == doomed.name] == [False], 30)
    (other,) = fleet.submit(counting_task(1))
    (served,) = fleet.ended([other], 40)
    assert served.node in {n.id for n in fleet.nodes() if n.name == near.name}
    assert fleet.task(task_id).state is TaskState.RUNNING and not repairs(fleet, task_id, "")
    doomed.kill()
    (again,) = wait_until(lambda: repairs(fleet, task_id, "started again"), 40)
    daemon.start()
    assert [c["Id"] for c in Client(daemon.host).api.containers(all=True)] == [old], "it ran on, unattended"
    fleet.worker("-Q", "far", "-c", "1")
    wait_until(lambda: not Client(daemon.host).api.containers(all=True), 40)
    release(_running_again(fleet, task_id))
    (task,) = fleet.ended([task_id], 90)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 1), task.error
    assert again.attempt == 1 and not repairs(fleet, task_id, "adopted")
    wait_until(lambda: not labels.list_resources(Client(), fleet.installation.id)[0], 40)
