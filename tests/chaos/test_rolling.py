"""Rolling restarts under load: one worker after another is told to leave, and no task notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.model.states import LinkState, NodeState, TaskState
from tests.support.counting_task import repairs, wait_until_counting
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.docker_events import ContainerEvents, container_events
from tests.support.fleet import Fleet, running_fleet
from tests.support.fleet_fixtures import store_url
from tests.support.held_task import release
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

#: Default leases and graces: no node may lapse here on a busy machine.
CALM = {"lease_seconds": 5.0, "grace_min_seconds": 15.0, "restart_grace_seconds": 300.0}
CHAIN = """
name: chain
image: busybox:1.36
volumes: [/data]
run: "sleep 1; cat /data/pre > $FERRYMAN_OUTPUT"
pre: [{name: write, image: "busybox:1.36", run: "echo -n kept > /data/pre"}]
post: [{name: check, image: "busybox:1.36", run: "cat /data/pre"}]
retry: {limit: 0}
"""
PLAIN = (
    "name: plain\nimage: busybox:1.36\nrun: 'sleep 1; echo -n kept > $FERRYMAN_OUTPUT'\nretry: {limit: 0}\n"
)
LONGEST = """
name: longest
image: busybox:1.36
run: 'i=0; until [ -e /go ]; do i=$((i+1)); echo line $i; sleep 0.2; done'
retry: {limit: 0}
"""
#: Restarts, and the store; the other ones are for the long ring.
CASES = [
    (3, "sqlite"),
    pytest.param(20, "sqlite", marks=pytest.mark.long),
    pytest.param(20, "postgresql", marks=pytest.mark.long),
]


@pytest.fixture
def calm_fleet(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """Start a fleet with the leases and graces of CALM, on the store that the parameter names."""
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, store_url(request), redis_server, **CALM) as made:
        yield made


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("restarts", "calm_fleet"), CASES, indirect=["calm_fleet"])
def test_rolling_restarts_lose_nothing_repeat_nothing_and_one_task_outlives_them_all(
    calm_fleet: Fleet, restarts: int
) -> None:
    fleet = calm_fleet
    with container_events(fleet.installation.id) as seen:
        workers = [fleet.worker("-c", "3"), fleet.worker("-c", "3")]
        (longest,) = fleet.submit(LONGEST)
        container = wait_until_counting(fleet, longest)
        ids: list[str] = []
        for _ in range(restarts):
            ids += [*fleet.submit(CHAIN), *fleet.submit(PLAIN)]
            wait_until(lambda mine=ids[-2:]: any(_has_begun(fleet, id) for id in mine), 60)
            leaving = workers.pop(0)
            leaving.process.terminate()
            ids += fleet.submit(PLAIN)
            assert leaving.process.wait(60) == 0, leaving.output()
            workers.append(fleet.worker("-c", "3"))
        _end(fleet, ids, 240)
        assert fleet.task(longest).state is TaskState.RUNNING, "it outlived them all"
        release(container)
        fleet.ended([longest], 60)
        wait_until(lambda: not fleet.left_over(), 60)
        links = sum(len(fleet.links(id)) for id in [*ids, longest])
        wait_until(lambda: seen.actions()["die"] == links, 30)
    for id in [*ids, longest]:
        _ran_once(fleet, id, seen)
    assert seen.tasks() == {*ids, longest}
    assert seen.actions()["start"] == links and not seen.actions()["restart"]
    assert [link.container_id for link in fleet.links(longest)] == [container]
    lines = fleet.log(longest).splitlines()
    assert lines == [f"line {i}" for i in range(1, len(lines) + 1)], "no gap and no doubled line"
    states = Counter(node.state for node in fleet.nodes())
    assert states == {NodeState.LEFT: restarts, NodeState.LIVE: 2}, "nobody lapsed"
    # One of two workers has the task, and the older one leaves: at least every second restart moves the task.
    moves = len(repairs(fleet, longest))
    assert moves >= restarts // 2
    print(f"{restarts} restarts, {len(ids) + 1} tasks, {links} containers, the longest moved {moves} times")


def _has_begun(fleet: Fleet, task_id: str) -> bool:
    return any(link.state is not LinkState.WAITING for link in fleet.links(task_id))


def _end(fleet: Fleet, ids: Sequence[str], seconds: float) -> None:
    try:
        fleet.ended(ids, seconds)
    except AssertionError:
        nodes = "\n".join(f"{n.id} {n.state} lapse {n.lapse_no} looked {n.looked}" for n in fleet.nodes())
        left = [fleet.story(id) for id in ids if not fleet.task(id).state.ended]
        raise AssertionError("\n".join([f"{len(left)} did not end", *left, nodes])) from None


def _ran_once(fleet: Fleet, task_id: str, seen: ContainerEvents) -> None:
    task, said = fleet.task(task_id), fleet.story(task_id)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 0), f"{task.error}\n{said}"
    assert task.name == "longest" or task.result == "kept", said
    links = fleet.links(task_id)
    assert [(link.state, link.exit_code) for link in links] == [(LinkState.ENDED, 0)] * len(links), said
    assert seen.starts(task_id) == {str(link.index): 1 for link in links}, (
        f"no container started twice\n{said}"
    )
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == TaskState.COMPLETED]
    assert len(ends) == 1 and not repairs(fleet, task_id, "started again"), said
