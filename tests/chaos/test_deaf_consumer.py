"""Deaf consumers (connected, slots free, messages waiting, nothing received): rebuilt, or else the process exits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from engine.model.states import TaskState
from engine.worker.intake.watchdog import EXIT_DEAF
from tests.support.counting_task import assert_ran_once, counting_task, wait_until_counting
from tests.support.deaf_proxy import DeafProxy
from tests.support.fleet import Fleet, Worker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello]\n"
#: 5 s of silence, a look each second, and a new connection; the rest is for a machine under load.
LONGEST_SECONDS = 40


@pytest.fixture
def proxy(sqlite_fleet: Fleet) -> Iterator[DeafProxy]:
    """Start a proxy between a worker and the fleet's Redis."""
    made = DeafProxy(sqlite_fleet.redis.port)
    yield made
    made.close()


def _assert_rebuilt(fleet: Fleet, worker: Worker) -> None:
    """Check that the deaf worker runs the waiting tasks in time, and logs what it did."""
    began = time.monotonic()
    ended = fleet.ended(fleet.submit(HELLO, 3), LONGEST_SECONDS + 30)
    took = time.monotonic() - began
    print(f"heard again, and three tasks ended, after {took:.1f} s")
    assert {(task.state, task.attempt, task.crashes) for task in ended} == {(TaskState.COMPLETED, 1, 0)}
    assert took < LONGEST_SECONDS
    assert "deaf: " in worker.output() and "(strike 1 of 3)" in worker.output()
    assert worker.process.poll() is None, worker.output()
    # The worker goes on as before.
    fleet.ended(fleet.submit(HELLO), LONGEST_SECONDS)


def test_a_consumer_whose_connection_is_half_dead_is_rebuilt_under_its_running_work(
    sqlite_fleet: Fleet, proxy: DeafProxy
) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "2", FERRYMAN_BROKER_URL=proxy.url)
    (busy,) = fleet.submit(counting_task(100))
    container = wait_until_counting(fleet, busy)
    assert proxy.deafen() == 1
    _assert_rebuilt(fleet, worker)
    fleet.ended([busy], 60)
    assert_ran_once(fleet, busy, 100, container)
    assert fleet.task(busy).crashes == 0


@pytest.mark.long
@pytest.mark.parametrize("way", ["blocked", "cancelled"])
def test_a_consumer_that_went_deaf_by_itself_is_rebuilt(sqlite_fleet: Fleet, way: str) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "2", module="tests.support.deaf_worker", PLANTED_DEAFNESS=way)
    fleet.ended(fleet.submit(HELLO), 30)
    os.kill(worker.process.pid, signal.SIGRTMIN)
    _assert_rebuilt(fleet, worker)


@pytest.mark.long
def test_a_worker_that_stays_deaf_leaves_with_75_and_its_container_goes_on(
    sqlite_fleet: Fleet, proxy: DeafProxy
) -> None:
    fleet = sqlite_fleet
    deaf = fleet.worker("-c", "2", FERRYMAN_BROKER_URL=proxy.url)
    (busy,) = fleet.submit(counting_task(300))
    container = wait_until_counting(fleet, busy)
    proxy.deafen(also_later=True)
    # Each rebuilt consumer takes one message and does not receive it; the message is sent again.
    waiting = fleet.submit(HELLO, 6)
    began = time.monotonic()
    assert deaf.process.wait(90) == EXIT_DEAF == 75, deaf.output()
    print(f"left after {time.monotonic() - began:.1f} s")
    assert "(strike 3 of 3)" in deaf.output() and "its containers go on" in deaf.output()
    fleet.worker("-c", "2")
    ended = fleet.ended([busy, *waiting], 90)
    assert {(task.state, task.attempt) for task in ended} == {(TaskState.COMPLETED, 1)}
    assert_ran_once(fleet, busy, 300, container)
    wait_until(lambda: not fleet.left_over(), 30)
