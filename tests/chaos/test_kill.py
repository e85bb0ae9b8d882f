"""kill -9 of a worker at each point between two effects: the task ends once, as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import docker
import pytest

from engine.lifecycle.cancel import cancel
from engine.model.states import LinkState, NodeState, TaskState
from tests.support.fleet import ROOT, Fleet, Worker
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
FAILS = "name: fails\nimage: busybox:1.36\nrun: exit 3\nretry: {limit: LIMIT, initialDelay: 100ms}\n"
ALWAYS = FAILS + 'post:\n  - {name: tidy, image: "busybox:1.36", always: true, run: "echo tidied"}\n'
LONG = "name: long\nimage: busybox:1.36\ncmd: [sleep, '8']\n"

CANCEL = """
import sys
from engine.lifecycle.cancel import cancel
from engine.settings import Settings
from engine.store.database import Database
cancel(Database(Settings.from_env()), sys.argv[1])
"""


def _died(worker: Worker) -> None:
    assert worker.process.wait(40) == -signal.SIGKILL, worker.said()


def _alone(fleet: Fleet, point: str, text: str = CHAIN) -> str:
    doomed = fleet.worker("-c", "1", FERRYMAN_CRASH_POINT=point)
    (task_id,) = fleet.submit(text)
    _died(doomed)
    return task_id


def _retrying(fleet: Fleet, point: str) -> str:
    return _alone(fleet, point, FAILS.replace("LIMIT", "1"))


def _always(fleet: Fleet, point: str) -> str:
    return _alone(fleet, point, ALWAYS.replace("LIMIT", "0"))


def _second(fleet: Fleet, first: str, point: str) -> str:
    """One dies at `first`, and another, of another queue, at `point` while it repairs that."""
    doomed = fleet.worker("-c", "1", FERRYMAN_CRASH_POINT=first)
    repairer = fleet.worker("-Q", "other", "-c", "1", FERRYMAN_CRASH_POINT=point)
    (task_id,) = fleet.submit(CHAIN)
    _died(doomed)
    _died(repairer)
    return task_id


def _adopting(fleet: Fleet, point: str) -> str:
    return _second(fleet, "go.started", point)


def _restarting(fleet: Fleet, point: str) -> str:
    return _second(fleet, "claim.committed", point)


def _without_a_thread(fleet: Fleet, point: str) -> str:
    """The body raised: the row names the node, and no thread of it works there."""
    planted = "tests.support.planted_worker"
    doomed = fleet.worker("-c", "1", module=planted, FERRYMAN_CRASH_POINT=point)
    (task_id,) = fleet.submit(CHAIN.replace("survive", "exit"))
    _died(doomed)
    return task_id


def _without_its_volume(fleet: Fleet, point: str) -> str:
    """The worker died between links; before it is adopted its volume is gone, and a thing of it remains."""
    task_id = _alone(fleet, "finish.committed")
    client = docker.from_env(timeout=30)
    (kept,) = [thing for thing in fleet.left_over() if thing.kind == "container"]
    labels = client.containers.get(kept.id).labels
    for thing in sorted(fleet.left_over(), key=lambda one: one.kind):
        if thing.kind == "container":
            client.containers.get(thing.id).remove(force=True)
        else:
            client.volumes.get(thing.name).remove()
    client.containers.create("busybox:1.36", ["true"], name=kept.name, labels=labels)
    client.close()
    _died(fleet.worker("-c", "1", wait=False, FERRYMAN_CRASH_POINT=point))
    return task_id


def _without_its_message(fleet: Fleet, point: str) -> str:
    (task_id,) = fleet.submit(CHAIN)
    wait_until(lambda: fleet.task(task_id).state is TaskState.SCHEDULED, 20)
    for key in fleet.redis.client.keys(f"{fleet.settings.broker_prefix}default*"):
        fleet.redis.client.delete(key)
    _died(fleet.worker("-c", "1", wait=False, FERRYMAN_CRASH_POINT=point))
    return task_id


def _runs(fleet: Fleet, task_id: str) -> bool:
    return any(link.state is LinkState.CONFIRMED for link in fleet.links(task_id))


def _uncancelled(fleet: Fleet, point: str) -> str:
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(CHAIN)
    wait_until(lambda: _runs(fleet, task_id), 20)
    env = os.environ | fleet.settings.environment() | {"FERRYMAN_CRASH_POINT": point}
    words = [sys.executable, "-c", CANCEL, task_id]
    done = subprocess.run(words, env=env, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    return task_id


def _cancelled(fleet: Fleet, point: str) -> str:
    doomed = fleet.worker("-c", "1", FERRYMAN_CRASH_POINT=point)
    (task_id,) = fleet.submit(LONG)
    wait_until(lambda: _runs(fleet, task_id), 20)
    cancel(fleet.db, task_id)
    _died(doomed)
    return task_id


COMPLETED, FAILED, CANCELLED = TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED
Arrange = Callable[[Fleet, str], str]

#: Which point, how it is reached, how the task ends with which attempt, and the store of the short ring (None:
#: the long ring only, which has each on both).
CASES: list[tuple[str, Arrange, TaskState, int, str | None]] = [
    ("flush.published", _retrying, FAILED, 2, None),
    ("flush.marked", _retrying, FAILED, 2, "sqlite"),
    ("claim.rows", _alone, COMPLETED, 1, None),
    ("claim.committed", _alone, COMPLETED, 1, "postgresql"),
    ("prepare.volume", _alone, COMPLETED, 1, None),
    ("prepare.created", _alone, COMPLETED, 1, "sqlite"),
    ("confirm.rows", _alone, COMPLETED, 1, None),
    ("confirm.committed", _alone, COMPLETED, 1, "postgresql"),
    ("go.started", _alone, COMPLETED, 1, None),
    ("go.followed", _alone, COMPLETED, 1, "sqlite"),
    ("go.ended", _alone, COMPLETED, 1, None),
    ("finish.rows", _alone, COMPLETED, 1, None),
    ("finish.committed", _alone, COMPLETED, 1, "postgresql"),
    ("finish.committed", _retrying, FAILED, 2, None),
    ("next.published", _adopting, COMPLETED, 1, "sqlite"),
    ("next.published", _always, FAILED, 1, None),
    ("remove.container", _alone, COMPLETED, 1, "postgresql"),
    ("remove.volume", _alone, COMPLETED, 1, None),
    ("remove.done", _alone, COMPLETED, 1, None),
    ("take_over.rows", _adopting, COMPLETED, 1, None),
    ("take_over.committed", _adopting, COMPLETED, 1, "sqlite"),
    ("self_take_over.rows", _without_a_thread, COMPLETED, 1, None),
    ("self_take_over.committed", _without_a_thread, COMPLETED, 1, None),
    ("restart.rows", _restarting, COMPLETED, 1, None),
    ("restart.committed", _restarting, COMPLETED, 1, "postgresql"),
    ("give_back.rows", _without_its_volume, COMPLETED, 1, None),
    ("give_back.committed", _without_its_volume, COMPLETED, 1, None),
    ("resend.rows", _without_its_message, COMPLETED, 1, None),
    ("resend.committed", _without_its_message, COMPLETED, 1, "sqlite"),
    ("cancel.rows", _uncancelled, COMPLETED, 1, None),
    ("cancel.seen", _cancelled, CANCELLED, 1, "postgresql"),
]


@pytest.mark.parametrize(
    ("fleet", "point", "arrange", "state", "attempt"),
    [
        pytest.param(
            store,
            *case[:4],
            id=f"{case[0]}-{case[1].__name__.strip('_')}-{store}",
            marks=() if store == case[4] else pytest.mark.long,
        )
        for case in CASES
        for store in ("sqlite", "postgresql")
    ],
    indirect=["fleet"],
)
def test_a_task_survives_kill_9_of_its_worker(
    fleet: Fleet, point: str, arrange: Arrange, state: TaskState, attempt: int
) -> None:
    task_id = arrange(fleet, point)
    fleet.worker("-c", "1")
    (task,) = fleet.ended([task_id], 60)
    said = "\n".join(f"{e.kind} {e.from_state}->{e.to_state} {e.reason}" for e in fleet.events(task_id))
    assert (task.state, task.attempt) == (state, attempt), said
    last = [link for link in fleet.links(task_id) if (link.attempt, link.origin) == (attempt, task.origin)]
    if state is COMPLETED:
        assert task.result == "kept", said
        assert [(link.state, link.exit_code) for link in last] == [(LinkState.ENDED, 0)] * 3, said
    if state is FAILED:
        assert [link.exit_code for link in last] == [3, 0][: len(last)], said
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == state]
    assert len(ends) == 1, said
    wait_until(lambda: not fleet.left_over(), 30)


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
