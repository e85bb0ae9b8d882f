"""A worker that does not reach its broker: held, named, serving nowhere; released, or leaving with 75."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator

import pytest

from engine.cli.doctor import check_database
from engine.model.records import Node
from engine.model.states import HoldKind, NodeState, TaskState
from tests.support.api_server import running_api
from tests.support.counting_task import assert_ran_once, counting_task, wait_until_counting
from tests.support.cut_proxy import CutProxy
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(200)]

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello]\nqueue: far\n"


@pytest.fixture
def proxy(sqlite_fleet: Fleet) -> Iterator[CutProxy]:
    """Start a proxy between one worker and the fleet's Redis."""
    made = CutProxy(sqlite_fleet.redis.port)
    yield made
    made.close()


def _node(fleet: Fleet, name: str) -> Node:
    (node,) = [node for node in fleet.nodes() if node.name == name]
    return node


def _is_held(fleet: Fleet, name: str) -> bool:
    return [held.kind for held in _node(fleet, name).holds] == [HoldKind.BROKER]


def _get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content = json.load(answer)
    assert isinstance(content, dict)
    return content


def test_a_worker_cut_off_from_its_broker_is_held_and_serves_again(
    sqlite_fleet: Fleet, proxy: CutProxy
) -> None:
    fleet = sqlite_fleet
    url = f"redis://127.0.0.1:{proxy.port}/0"
    worker = fleet.worker("-c", "1", "-Q", "far", FERRYMAN_BROKER_URL=url)
    proxy.cut()
    began = time.monotonic()
    wait_until(lambda: _is_held(fleet, worker.name), 20)
    print(f"held after {time.monotonic() - began:.1f} s")
    node = _node(fleet, worker.name)
    assert node.state is NodeState.LIVE and not node.serves
    assert node.holds[0].reason == f"its consumer has no connection to {url}"
    (task,) = fleet.submit(HELLO)
    with running_api(fleet.settings) as api:
        ready = _get(f"{api.url}/ready")
        assert (ready["status"], ready["unserved"], ready["nodes"]) == ("UNSERVED", ["far"], 0), ready
    findings = [f for f in check_database(fleet.settings.store, fleet.settings.cluster) if f.status == "warn"]
    assert any("broker" in f.message and "FERRYMAN_BROKER_URL" in f.remedy for f in findings), findings
    proxy.mend()
    began = time.monotonic()
    assert fleet.ended([task], 30)[0].state is TaskState.COMPLETED
    print(f"ran {time.monotonic() - began:.1f} s after the broker was back")
    wait_until(lambda: not _node(fleet, worker.name).holds, 10)
    assert "held (broker)" in worker.output() and "released (broker) after" in worker.output()
    assert worker.process.poll() is None


def test_a_broker_that_hangs_holds_its_workers(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1", "-Q", "far")
    fleet.redis.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: _is_held(fleet, worker.name), 20)
        assert "Timeout" in _node(fleet, worker.name).holds[0].reason
    finally:
        fleet.redis.signal(signal.SIGCONT)
    wait_until(lambda: not _node(fleet, worker.name).holds, 20)
    assert fleet.ended(fleet.submit(HELLO), 30)[0].state is TaskState.COMPLETED


def test_a_worker_that_its_broker_leaves_alone_leaves_with_75_and_its_container_goes_on(
    sqlite_fleet: Fleet, proxy: CutProxy
) -> None:
    fleet = sqlite_fleet
    patience = {"FERRYMAN_BROKER_URL": f"redis://127.0.0.1:{proxy.port}/0", "FERRYMAN_PATIENCE_SECONDS": "4"}
    worker = fleet.worker("-c", "1", **patience)
    (busy,) = fleet.submit(counting_task(200))
    container = wait_until_counting(fleet, busy)
    proxy.cut()
    assert worker.process.wait(40) == 75, worker.output()
    assert "this process leaves with 75, its containers go on" in worker.output()
    assert _node(fleet, worker.name).state is NodeState.LEFT
    fleet.worker("-c", "1")
    (task,) = fleet.ended([busy], 60)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 0)
    assert_ran_once(fleet, busy, 200, container)


def test_idle_and_busy_workers_with_a_broker_are_never_held(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1")
    (task,) = fleet.submit("name: sleep\nimage: busybox:1.36\nrun: sleep 4\n")
    fleet.ended([task], 40)
    # Longer than a lease without a message.
    end = time.monotonic() + 5
    wait_until(lambda: time.monotonic() > end, 10, 0.5)
    assert "held" not in worker.output(), worker.output()
