"""Late ends and repeated messages: the end of a fenced worker, a message of an impatient broker."""

from __future__ import annotations

import json

import pytest

from engine.model.states import NodeState, TaskState
from tests.support.counting_task import repairs
from tests.support.docker_events import container_events
from tests.support.fleet import Fleet
from tests.support.held_task import held_task, release
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

LONG = "name: long\nimage: busybox:1.36\ncmd: [sleep, '20']\nretry: {limit: 0}\n"
CHAIN = """
name: chain
image: busybox:1.36
cmd: [sleep, '10']
pre: [{name: before, image: "busybox:1.36", cmd: [sleep, '10']}]
retry: {limit: 0}
"""


@pytest.mark.long
def test_an_end_that_comes_too_late_is_an_event_and_never_applied(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    mute = fleet.worker("-c", "1", module="tests.support.mute_worker")
    (former,) = fleet.nodes()
    other = fleet.worker("-Q", "other", "-c", "1")
    (task_id,) = fleet.submit(held_task())
    wait_until(lambda: "begun" in fleet.log(task_id), 40)
    (adopted,) = wait_until(lambda: repairs(fleet, task_id), 40)
    container = fleet.links(task_id)[0].container_id or ""
    release(container)
    (task,) = fleet.ended([task_id], 60)
    (late,) = wait_until(lambda: [e for e in fleet.events(task_id) if e.kind == "late"], 30)
    assert late.reason == (
        "end of main (exit code 7) under attempt 1, delivery 1 came too late and was not applied"
    )
    assert (late.from_state, late.to_state) == (None, None)
    assert fleet.task(task_id) == task, "nothing of it changed"
    assert (task.state, task.exit_code, task.node, task.delivery) == (TaskState.COMPLETED, 0, adopted.node, 2)
    assert task.result != "invented" and fleet.log(task_id) == "begun\nreleased\n"
    assert [(x.container_id, x.exit_code) for x in fleet.links(task_id)] == [(container, 0)]
    assert {n.id: n.name for n in fleet.nodes()}[adopted.node or ""] == other.name
    # With no running links it beats again, and learns that it was fenced.
    wait_until(lambda: _live(fleet, mute.name) - {former.id}, 30)
    wait_until(lambda: not fleet.left_over(), 30)


def _live(fleet: Fleet, name: str) -> set[str]:
    return {node.id for node in fleet.nodes() if node.name == name and node.state is NodeState.LIVE}


@pytest.mark.long
def test_a_broker_that_delivers_again_after_five_seconds_starts_nothing_twice(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    for _ in range(2):
        fleet.worker("-c", "3", module="tests.support.hasty_broker_worker")
    with container_events(fleet.installation.id) as seen:
        long, chain = *fleet.submit(LONG), *fleet.submit(CHAIN)
        ended = fleet.ended([long, chain], 120)
        wait_until(lambda: seen.actions()["die"] >= 3, 30)
        wait_until(lambda: not fleet.left_over(), 30)
    dropped = [
        one["claims_lost"] for one in json.loads(fleet.celery("inspect", "ferryman", "--json")).values()
    ]
    assert sum(dropped) >= 3, "each message came again while its container ran"
    print(f"{sum(dropped)} messages came again")
    for task in ended:
        assert (task.state, task.attempt, task.delivery, task.crashes) == (TaskState.COMPLETED, 1, 1, 0)
    assert seen.starts(long) == {"0": 1} and seen.starts(chain) == {"0": 1, "1": 1}
    assert seen.actions()["start"] == 3
