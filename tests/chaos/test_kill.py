"""kill -9 of a worker at the points between two effects: the task ends once, as if nothing had been."""

from __future__ import annotations

import re

import pytest

from engine.model.states import LinkState, NodeState, TaskState
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

CHAIN = """
name: survive
image: busybox:1.36
volumes: [/data]
run: |
  for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done
  cat /data/pre > $FERRYMAN_OUTPUT
pre:
  - {name: write, image: "busybox:1.36", run: "echo -n kept > /data/pre"}
post:
  - {name: check, image: "busybox:1.36", run: "cat /data/pre"}
retry: {limit: 0}
"""


@pytest.mark.parametrize(
    "point",
    [
        "claim.committed",
        "prepare.created",
        "go.started",
        "go.ended",
        "finish.committed",
        *(
            pytest.param(point, marks=pytest.mark.long)
            for point in ("claim.rows", "confirm.committed", "finish.rows", "remove.done")
        ),
    ],
)
def test_a_task_survives_kill_9_of_its_worker(fleet: Fleet, point: str) -> None:
    doomed = fleet.worker("-c", "1", FERRYMAN_CRASH_POINT=point)
    (task_id,) = fleet.submit(CHAIN)
    assert doomed.process.wait(30) == -9
    fleet.worker("-c", "1")
    (task,) = fleet.ended([task_id], 40)
    said = "\n".join(f"{e.kind} {e.from_state}->{e.to_state} {e.reason}" for e in fleet.events(task_id))
    assert (task.state, task.result) == (TaskState.COMPLETED, "kept"), said
    assert task.attempt == 1, "a crash uses up no retry"
    last_run = [link for link in fleet.links(task_id) if link.origin == task.origin]
    assert [(link.state, link.exit_code) for link in last_run] == [(LinkState.ENDED, 0)] * 3
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == TaskState.COMPLETED]
    assert len(ends) == 1
    wait_until(lambda: not fleet.left_over(), 15)


def test_a_running_container_is_adopted_with_its_log_whole(fleet: Fleet) -> None:
    first = fleet.worker("-c", "1")
    second = fleet.worker("-Q", "other", "-c", "1")
    (task_id,) = fleet.submit(
        "name: count\nimage: busybox:1.36\nrun: |\n  for i in $(seq 1 60); do echo line $i; sleep 0.1; done\n"
    )
    wait_until(lambda: "line 10\n" in fleet.log(task_id), 20)
    before = fleet.links(task_id)[0].container_id
    first.kill()
    (task,) = fleet.ended([task_id], 30)
    assert task.state is TaskState.COMPLETED, task.error
    assert fleet.log(task_id) == "".join(f"line {i}\n" for i in range(1, 61)), "no gap and no doubled line"
    (link,) = fleet.links(task_id)
    assert link.container_id == before, "the same container finished"
    assert (task.attempt, task.crashes) == (1, 1)
    (adopted,) = [e for e in fleet.events(task_id) if e.kind == "repair"]
    assert re.match(r"adopted from node \w{8} \(LAPSED\): container \w{12} still runs", adopted.reason or "")
    names = {node.id: node.name for node in fleet.nodes()}
    assert names[adopted.node or ""] == second.name, "a worker of another queue took it"
    (dead,) = [node.id for node in fleet.nodes() if node.state is NodeState.LAPSED]
    wait_until(lambda: not _in_broker(fleet, dead), 10)
    assert _in_broker(fleet, adopted.node or ""), "a living node's queue stays"


def _in_broker(fleet: Fleet, node_id: str) -> bool:
    """The node's queue has a list or a binding in Redis."""
    prefix = fleet.settings.broker_prefix
    bindings = fleet.redis.client.smembers(f"{prefix}_kombu.binding.default")
    return bool(fleet.redis.client.keys(f"{prefix}!{node_id}*")) or any(node_id in text for text in bindings)


def test_sigterm_leaves_the_container_to_the_next_worker(fleet: Fleet) -> None:
    first = fleet.worker("-c", "1")
    (task_id,) = fleet.submit("name: long\nimage: busybox:1.36\ncmd: [sleep, '6']\n")
    wait_until(lambda: fleet.links(task_id) and fleet.links(task_id)[0].state is LinkState.CONFIRMED, 20)
    before = fleet.links(task_id)[0].container_id
    first.process.terminate()
    assert first.process.wait(5) == 0, first.said()
    assert [n.state for n in fleet.nodes()] == [NodeState.LEFT]
    fleet.worker("-c", "1")
    (task,) = fleet.ended([task_id], 30)
    assert (task.state, task.crashes) == (TaskState.COMPLETED, 0), task.error
    assert fleet.links(task_id)[0].container_id == before
