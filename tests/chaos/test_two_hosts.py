"""Partition of one of two hosts, each with its own Docker, while PostgreSQL and Redis stand between them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.model.records import Event
from engine.model.states import LinkState, NodeState, TaskState
from engine.runtime.docker.client import Client
from tests.support.counting_task import repairs, seconds_since
from tests.support.databases import running_postgres
from tests.support.docker_daemon import BUSYBOX, Daemon, provide, require_docker, second_daemon_possible
from tests.support.fleet import DEFAULTS, Fleet, Worker, running_fleet
from tests.support.namespaces import Host, running_wire
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(400)]

#: Each run prints its name, keeps it in the volume, and returns it as the result.
CHAIN = """
name: twice
image: busybox:1.36
volumes: [/data]
run: |
  me=$(cat /data/me)
  echo run $me
  sleep SECONDS
  echo -n $me > $FERRYMAN_OUTPUT
pre:
  - {name: first, image: "busybox:1.36", run: "cat /proc/sys/kernel/random/uuid > /data/me"}
post:
  - {name: last, image: "busybox:1.36", run: "echo after $(cat /data/me)"}
retry: {limit: 0}
"""
FOR_THE_MACHINE_SECONDS = 15
LONGEST_RETURN_SECONDS = 60


@dataclass
class Site:
    """A host with its dockerd and its worker."""

    host: Host
    daemon: Daemon
    worker: Worker

    def containers(self) -> list[str]:
        """Return the ids of all containers of its dockerd."""
        return [item["Id"] for item in Client(self.daemon.host).api.containers(all=True)]


@dataclass
class Pair:
    """The fleet and its two hosts; `here` took the task."""

    fleet: Fleet
    here: Site
    there: Site
    task_id: str

    def events(self, kind: str) -> list[Event]:
        """Return the task's events of a kind."""
        return [event for event in self.fleet.events(self.task_id) if event.kind == kind]

    def promised(self) -> float:
        """Return the seconds within which work of a lost host starts again."""
        settings = self.fleet.settings
        return settings.cluster.lease_seconds + settings.cluster.grace_min_seconds + 3

    def runs(self) -> list[str]:
        """Return the name that each run of the main link printed."""
        lines = self.fleet.log(self.task_id).splitlines()
        return [line.removeprefix("run ") for line in lines if line.startswith("run ")]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Return an exit stack that the end of the test unwinds."""
    with ExitStack() as made:
        yield made


def _two_hosts(stack: ExitStack, folder: Path, seconds: int, **options: float) -> Pair:
    """Start both hosts and a task whose main link runs on one of them."""
    require_docker(BUSYBOX)
    if not second_daemon_possible():
        pytest.skip("a second dockerd needs root, dockerd and ip")
    wire = stack.enter_context(running_wire())
    redis = RedisServer(folder / "redis", wire.address)
    stack.callback(redis.stop)
    server = stack.enter_context(running_postgres(wire.address))
    places = []
    for _ in range(2):
        host = wire.host()
        daemon = stack.enter_context(Daemon(live_restore=True, within=host.within))
        provide((BUSYBOX,), daemon.host)
        places.append((host, daemon))
    fleet = stack.enter_context(running_fleet(folder, server.new(), redis, **options))
    sites = [_serving(fleet, *place) for place in places]
    (task_id,) = fleet.submit(CHAIN.replace("SECONDS", str(seconds)))
    wait_until(lambda: "run " in fleet.log(task_id), 60)
    names = {node.id: node.name for node in fleet.nodes()}
    sites.sort(key=lambda site: site.worker.name != names[fleet.task(task_id).node or ""])
    return Pair(fleet, *sites, task_id)


def _serving(fleet: Fleet, host: Host, daemon: Daemon) -> Site:
    return Site(host, daemon, host.worker(fleet, "-c", "1", FERRYMAN_DOCKER_HOST=daemon.host))


@pytest.mark.parametrize(
    ("seconds", "options"),
    [(60, {}), (15, {}), (100, DEFAULTS)],
    ids=["runs-on", "ends-meanwhile", "with-the-defaults"],
)
def test_a_partitioned_hosts_task_starts_again_on_the_other_and_one_result_stands(
    stack: ExitStack, tmp_path: Path, seconds: int, options: dict[str, float]
) -> None:
    pair = _two_hosts(stack, tmp_path, seconds, **options)
    fleet, here, there = pair.fleet, pair.here, pair.there
    (first_node,) = [node.id for node in fleet.nodes() if node.name == here.worker.name]
    first_container = fleet.links(pair.task_id)[1].container_id
    cut = time.time()
    here.host.cut()
    (again,) = wait_until(lambda: repairs(fleet, pair.task_id, "started again"), 60)
    assert seconds_since(cut, again) < pair.promised() + FOR_THE_MACHINE_SECONDS
    wait_until(lambda: len(pair.runs()) == 2, 60)
    assert first_container in here.containers(), "nobody could reach it: it is there twice now"
    if seconds == 15:
        wait_until(lambda: not _running(here, first_container), 60)
    healed = time.time()
    here.host.heal()
    wait_until(lambda: first_container not in here.containers(), LONGEST_RETURN_SECONDS)
    print(f"{time.time() - healed:.2f} s from the healing to the first container's removal")
    (task,) = fleet.ended([pair.task_id], 150)
    _assert_the_second_run_stands(pair, first_node, again)
    late = [event.reason for event in pair.events("late")]
    assert all(
        re.match(r"end of main \(.*\) under attempt 1, delivery 1 ", reason or "") for reason in late
    ), late
    assert len(late) <= 1
    wait_until(lambda: not here.containers() and not there.containers(), 60)
    assert here.worker.name in {n.name for n in fleet.nodes() if n.state is NodeState.LIVE}
    assert task.crashes == 1


def _running(site: Site, container: str | None) -> bool:
    return any(item["Id"] == container for item in Client(site.daemon.host).api.containers())


def _assert_the_second_run_stands(pair: Pair, first_node: str, again: Event) -> None:
    fleet, task = pair.fleet, pair.fleet.task(pair.task_id)
    said = fleet.story(task.id)
    assert (task.state, task.attempt, task.result) == (TaskState.COMPLETED, 1, pair.runs()[1]), said
    assert f"node {first_node[:8]} is LAPSED" in (again.reason or ""), "the events say what was given up"
    began = [event for event in pair.events("link") if event.to_state == LinkState.CONFIRMED]
    names = {node.id: node.name for node in fleet.nodes()}
    of_main = [names[e.node or ""] for e in began if (e.reason or "").startswith("main: container")]
    assert of_main == [pair.here.worker.name, pair.there.worker.name], "and where the link was started"
    ends = [e for e in pair.events("task") if e.to_state == TaskState.COMPLETED]
    assert len(ends) == 1, said
    assert f"after {task.result}\n" in fleet.log(task.id)


def test_a_partition_shorter_than_the_grace_starts_nothing_twice(stack: ExitStack, tmp_path: Path) -> None:
    pair = _two_hosts(stack, tmp_path, 25, grace_min_seconds=60.0)
    fleet, here = pair.fleet, pair.here
    container = fleet.links(pair.task_id)[1].container_id
    here.host.cut()
    lapsed = NodeState.LAPSED
    wait_until(lambda: lapsed in {n.state for n in fleet.nodes() if n.name == here.worker.name}, 60)
    here.host.heal()
    (task,) = fleet.ended([pair.task_id], 120)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 1), task.error
    assert [task.result] == pair.runs(), "one run, and its result"
    assert fleet.links(task.id)[1].container_id == container
    assert len(repairs(fleet, task.id)) == 1, "adopted by its own host when that was back"
    assert not repairs(fleet, task.id, "started again")
    wait_until(lambda: not here.containers(), 60)
