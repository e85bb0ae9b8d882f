"""kill -9 of a worker's process group: another worker, or the next one, continues with the same containers."""

from __future__ import annotations

import time

import pytest

from engine.model.states import LinkState, NodeState, TaskState
from engine.runtime.docker.client import Client
from tests.support.counting_task import (
    COUNT_UNTIL_RELEASED,
    assert_ran_once,
    assert_ran_once_until_released,
    counting_task,
    repairs,
    seconds_since,
    wait_until_counting,
)
from tests.support.docker_daemon import BUSYBOX, Daemon, provide, second_daemon_possible
from tests.support.fleet import Fleet
from tests.support.held_task import release
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

#: Promised with a lease of 1 s: 4 s; the rest is for a machine under load.
LONGEST_SECONDS = 15

CHAIN = """
name: chain
image: busybox:1.36
run: "echo main; sleep 3; echo main done"
pre:
  - {name: before, image: "busybox:1.36", run: "echo pre; sleep 3; echo pre done"}
post:
  - {name: after, image: "busybox:1.36", run: "echo post; sleep 3; echo post done"}
retry: {limit: 0}
"""
ALL_SAID = "pre\npre done\nmain\nmain done\npost\npost done\n"


def test_a_full_worker_of_another_queue_adopts_and_counts_it_as_a_slot(
    sqlite_fleet: Fleet,
) -> None:
    fleet = sqlite_fleet
    doomed = fleet.worker("-c", "1", wait=False)
    full = fleet.worker("-Q", "other", "-c", "1", wait=False)
    wait_until(lambda: [n.state for n in fleet.nodes()] == [NodeState.LIVE] * 2, 60)
    (its_own,), (task_id,) = (
        fleet.submit(COUNT_UNTIL_RELEASED + "queue: other\n"),
        fleet.submit(COUNT_UNTIL_RELEASED),
    )
    own_container, container = wait_until_counting(fleet, its_own), wait_until_counting(fleet, task_id)
    (waiting,) = fleet.submit(counting_task(1, "other"))
    (taker,) = [n.id for n in fleet.nodes() if n.queues == full.queues]
    killed = time.time()
    doomed.kill()
    (adopted,) = wait_until(lambda: repairs(fleet, task_id), 40)
    assert seconds_since(killed, adopted) < LONGEST_SECONDS
    assert adopted.node == taker
    release(own_container)
    fleet.ended([its_own], 40)
    # Long enough for another message to be taken, if a slot were free.
    lines = fleet.log(task_id).count("\n")
    wait_until(lambda: fleet.log(task_id).count("\n") > lines + 10, 40)
    release(container)
    fleet.ended([task_id, waiting], 60)
    assert_ran_once_until_released(fleet, its_own, own_container)
    assert_ran_once_until_released(fleet, task_id, container)
    assert (fleet.task(task_id).crashes, fleet.task(its_own).crashes) == (1, 0)
    assert _at(fleet, waiting, TaskState.RUNNING) >= _at(fleet, task_id, TaskState.COMPLETED), (
        "what it adopted fills its slot"
    )


def _at(fleet: Fleet, task_id: str, state: TaskState) -> int:
    return min(e.time for e in fleet.events(task_id) if e.kind == "task" and e.to_state == state)


@pytest.mark.long
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_worker_that_is_started_again_goes_on_in_pre_main_and_post(fleet: Fleet, index: int) -> None:
    doomed = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(CHAIN)
    said = ("pre\n", "main\n", "post\n")[index]
    wait_until(lambda: said in fleet.log(task_id), 40)
    before = [link.container_id for link in fleet.links(task_id)]
    doomed.kill()
    fleet.worker("-c", "1")
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.crashes, task.origin) == (TaskState.COMPLETED, 1, 1, 1), task.error
    after = [link.container_id for link in fleet.links(task_id)]
    assert after[: index + 1] == before[: index + 1], "what ran or had run is not run again"
    assert fleet.log(task_id) == ALL_SAID


@pytest.mark.long
def test_a_crash_between_two_links_repeats_neither(fleet: Fleet) -> None:
    doomed = fleet.worker("-c", "1", FERRYMAN_FAILPOINT="finish.committed")
    fleet.worker("-Q", "other", "-c", "1")
    (task_id,) = fleet.submit(CHAIN)
    assert doomed.process.wait(40) == -9
    ended = [link.container_id for link in fleet.links(task_id) if link.state is LinkState.ENDED]
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.crashes, task.origin) == (TaskState.COMPLETED, 1, 1, 1), task.error
    assert [link.container_id for link in fleet.links(task_id)][: len(ended)] == ended
    assert fleet.log(task_id) == ALL_SAID


@pytest.mark.long
def test_what_ended_while_no_worker_was_there_is_collected(fleet: Fleet) -> None:
    doomed = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(counting_task(40))
    container = wait_until_counting(fleet, task_id)
    doomed.kill()
    wait_until(lambda: [t.state for t in fleet.left_over() if t.kind == "container"] == ["exited"], 30)
    fleet.worker("-c", "1")
    fleet.ended([task_id], 40)
    assert_ran_once(fleet, task_id, 40, container)


@pytest.mark.long
def test_a_host_that_stays_away_costs_a_new_start_and_its_container_goes_when_it_is_back(
    sqlite_fleet: Fleet,
) -> None:
    if not second_daemon_possible():
        pytest.skip("a second dockerd needs root, dockerd and ip")
    fleet = sqlite_fleet
    with Daemon(live_restore=True) as far:
        provide((BUSYBOX,), far.host)
        lost = fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=far.host)
        (task_id,) = fleet.submit(counting_task(300))
        old = wait_until_counting(fleet, task_id)
        fleet.worker("-c", "1")
        killed = time.time()
        lost.kill()
        (again,) = wait_until(lambda: repairs(fleet, task_id, "started again"), 40)
        assert seconds_since(killed, again) < 3 + LONGEST_SECONDS
        wait_until(lambda: fleet.task(task_id).state is TaskState.RUNNING, 20)
        assert [c["Id"] for c in Client(far.host).api.containers(all=True)] == [old], "nobody could reach it"
        fleet.worker("-Q", "far", "-c", "1", FERRYMAN_DOCKER_HOST=far.host)
        wait_until(lambda: not Client(far.host).api.containers(all=True), 20)
        (task,) = fleet.ended([task_id], 90)
        assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 1), task.error
        assert not repairs(fleet, task_id), "the old container is nobody's"
