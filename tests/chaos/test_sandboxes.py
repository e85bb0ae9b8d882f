"""Sandboxes under faults: the sandbox dies, the worker dies, or both; nothing is lost and nothing is left over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from engine.model.states import LinkState, TaskState
from engine.runtime.base import Resource
from engine.runtime.docker.client import Client
from engine.store import attempts
from tests.support.counting_task import repairs
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import Fleet, Worker
from tests.support.held_task import held_task, release
from tests.support.picky_docker import PickyDocker
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

WHERE = "readlink /proc/self/ns/net"
HOLD = f"{WHERE}; until [ -e /go ]; do sleep 0.1; done"
CHAIN = f"""
name: chain
image: busybox:1.36
run: "{WHERE}; sleep 1"
pre:
  - {{name: before, image: "busybox:1.36", run: "{WHERE}; sleep 1"}}
post:
  - {{name: after, image: "busybox:1.36", run: "{WHERE}; sleep 1"}}
retry: {{limit: 0}}
"""


@pytest.fixture
def docker() -> Client:
    """Return a client of the daemon."""
    return require_docker(BUSYBOX)


def sandbox_worker(fleet: Fleet, *words: str, warm: int = 1, module: str = "") -> Worker:
    """Start a worker that keeps `warm` sandboxes ready; wait until it has them."""
    worker = fleet.worker(
        *words,
        module=module,
        FERRYMAN_SANDBOX="pod",
        FERRYMAN_WARM_SANDBOXES=str(warm),
        FERRYMAN_GRACE_MIN_SECONDS="2",
    )
    deadline = time.monotonic() + 60
    while "containers can join a sandbox here" not in worker.output() or len(sandboxes(fleet)) < warm:
        assert time.monotonic() < deadline, worker.output()
        time.sleep(0.05)
    return worker


def sandboxes(fleet: Fleet) -> Sequence[Resource]:
    """Return all sandboxes of the installation: ready, used or dead."""
    return [thing for thing in fleet.runtime().list() if thing.kind == "sandbox"]


def wait_until_running(fleet: Fleet, task_id: str, index: int = 0, *, other_than: str = "") -> str:
    """Wait until the link of the present run has printed its namespace; return the container's id."""

    def container() -> str | None:
        now = fleet.task(task_id)
        run = [one for one in fleet.links(task_id) if one.run == now.run]
        begun = len(run) > index and run[index].state is LinkState.CONFIRMED
        said = len(fleet.log(task_id).split()) > index
        return run[index].container_id if begun and said and run[index].container_id != other_than else None

    return wait_until(container, 60)


def sandboxes_of(fleet: Fleet, ids: Sequence[str]) -> set[str | None]:
    """Return the sandboxes that the rows of the tasks' attempts name; namespace numbers are reused."""
    with fleet.db.read() as c:
        return {one.sandbox for one in attempts.of_tasks(c, ids)}


def sandbox_of(fleet: Fleet) -> str:
    """Return the one sandbox in use."""
    (name,) = fleet.networks_in_use()
    return name


def assert_nothing_left(fleet: Fleet) -> None:
    """Check that used sandboxes are removed at once after the end."""
    wait_until(lambda: not fleet.left_over(), 15)


def test_an_attempts_links_share_one_network_and_no_two_attempts_do(fleet: Fleet) -> None:
    sandbox_worker(fleet, "-c", "2", warm=2)
    ids = fleet.submit(CHAIN, 3)
    assert [task.state for task in fleet.ended(ids, 90)] == [TaskState.COMPLETED] * 3
    said = [fleet.log(id).split() for id in ids]
    assert [len(set(one)) for one in said] == [1, 1, 1], said
    assert len(sandboxes_of(fleet, ids) - {None}) == 3
    steps = [set(link.timings or ()) for link in fleet.links(ids[0])]
    assert all(one >= {"waiting", "sandbox", "creating", "starting", "running", "ending"} for one in steps), (
        steps
    )
    assert_nothing_left(fleet)
    wait_until(lambda: len(sandboxes(fleet)) == 2, 20)
    fleet.workers[0].process.terminate()
    fleet.workers[0].process.wait(20)
    assert not sandboxes(fleet), "it leaves with what it kept ready"


def test_a_sandbox_that_is_gone_before_the_start_costs_the_task_nothing(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    sandbox_worker(fleet, "-c", "1", module="tests.support.sandboxless_worker", warm=0)
    (task_id,) = fleet.submit(CHAIN.replace("sleep 1", "true"))
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 0), fleet.story(task_id)
    (told,) = repairs(fleet, task_id, "continues without a sandbox")
    assert "does not run" in (told.reason or "")
    assert sandboxes_of(fleet, [task_id]) == {None}
    assert_nothing_left(fleet)


def _kill_nothing_else(fleet: Fleet, worker: Worker) -> None:
    """Kill nothing else."""


def _kill_the_worker_too(fleet: Fleet, worker: Worker) -> None:
    worker.kill()
    sandbox_worker(fleet, "-c", "1", "-Q", "other")


@pytest.mark.parametrize("dies", [_kill_nothing_else, _kill_the_worker_too])
def test_a_sandbox_that_dies_under_a_link_starts_the_chain_again(
    sqlite_fleet: Fleet, docker: Client, dies: Callable[[Fleet, Worker], None]
) -> None:
    fleet = sqlite_fleet
    worker = sandbox_worker(fleet, "-c", "1")
    (task_id,) = fleet.submit(held_task())
    first = wait_until_running(fleet, task_id)
    docker.api.kill(sandbox_of(fleet))
    dies(fleet, worker)
    wait_until(lambda: repairs(fleet, task_id, "given back: its sandbox died"), 60)
    if worker.process.poll() is not None:
        sandbox_worker(fleet, "-c", "1")
    release(wait_until_running(fleet, task_id, other_than=first))
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1), fleet.story(task_id)
    assert_nothing_left(fleet)


@pytest.mark.parametrize("index", [0, 1, 2], ids=["pre", "main", "post"])
def test_a_killed_workers_chain_goes_on_in_the_same_network(sqlite_fleet: Fleet, index: int) -> None:
    fleet = sqlite_fleet
    worker = sandbox_worker(fleet, "-c", "1")
    (task_id,) = fleet.submit(CHAIN.replace("sleep 1", "sleep 3"))
    container = wait_until_running(fleet, task_id, index)
    worker.kill()
    sandbox_worker(fleet, "-c", "1", "-Q", "other")
    (task,) = fleet.ended([task_id], 90)
    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1), fleet.story(task_id)
    assert fleet.links(task_id)[index].container_id == container, "adopted"
    said = fleet.log(task_id).split()
    assert len(said) == 3 and len(set(said)) == 1, said
    assert_nothing_left(fleet)


def test_what_dead_nodes_kept_ready_is_removed(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = sandbox_worker(fleet, "-c", "2", warm=2)
    dead = {thing.name for thing in sandboxes(fleet)}
    worker.kill()
    fleet.worker("-c", "1")
    wait_until(lambda: not dead & {thing.name for thing in sandboxes(fleet)}, 40)


def test_where_joining_does_not_work_each_container_has_its_own(sqlite_fleet: Fleet, tmp_path: Path) -> None:
    fleet = sqlite_fleet
    daemon = PickyDocker(tmp_path)
    worker = fleet.worker("-c", "1", FERRYMAN_SANDBOX="pod", FERRYMAN_DOCKER_HOST=daemon.url)
    wait_until(lambda: "containers cannot join a sandbox here" in worker.output(), 60)
    assert "not supported" in worker.output() and "FERRYMAN_SANDBOX=none" in worker.output()
    ids = fleet.submit(CHAIN.replace("sleep 1", "true"), 2)
    assert [task.state for task in fleet.ended(ids, 60)] == [TaskState.COMPLETED] * 2
    assert sandboxes_of(fleet, ids) == {None}
    assert worker.output().count("containers cannot join a sandbox here") == 1, "said once"
    assert daemon.refused == 1, "tried once"
    wait_until(lambda: not fleet.runtime().list(), 20)
    worker.kill()
    daemon.close()


def test_under_slot_one_attempt_after_another_has_the_same_network(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "2", FERRYMAN_SANDBOX="slot")
    wait_until(
        lambda: "containers can join a sandbox here" in worker.output() and len(sandboxes(fleet)) == 2, 60
    )
    ids = fleet.submit(CHAIN.replace("sleep 1", "true"), 8)
    fleet.ended(ids, 90)
    # A chain keeps its sandbox between two links, while its slot is free for another attempt.
    assert 1 < len(sandboxes_of(fleet, ids)) < len(ids) - 2, sandboxes_of(fleet, ids)
    with fleet.db.read() as c:
        spans = sorted(
            (one.sandbox or "", one.started_at, one.ended_at or 0) for one in attempts.of_tasks(c, ids)
        )
    for before, after in pairwise(spans):
        assert before[0] != after[0] or before[2] <= after[1], "never two attempts at once"
    wait_until(lambda: [thing.kind for thing in fleet.runtime().list()] == ["sandbox"] * 2, 20)
