"""A container that writes faster than it is read, while its worker or its store is away: every line once."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable

import pytest

from engine.model.states import TaskState
from engine.store import logs
from tests.support.fleet import Fleet
from tests.support.server_faults import lasting
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

#: Fault -> what it does for so many seconds to the fleet and its only worker of the queue.
Fault = Callable[[Fleet, float], None]


def worker_stopped(fleet: Fleet, seconds: float) -> None:
    os.killpg(fleet.workers[0].process.pid, signal.SIGSTOP)
    lasting(seconds)
    os.killpg(fleet.workers[0].process.pid, signal.SIGCONT)


def worker_killed(fleet: Fleet, seconds: float) -> None:
    fleet.workers[0].kill()
    lasting(seconds)
    fleet.worker("-c", "1")


def store_locked(fleet: Fleet, seconds: float) -> None:
    lock = sqlite3.connect(str(fleet.db.url.database), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    lasting(seconds)
    lock.execute("ROLLBACK")
    lock.close()


FAULTS = pytest.mark.parametrize("fault", [worker_stopped, worker_killed, store_locked])


@FAULTS
def test_every_line_is_stored_once(sqlite_fleet: Fleet, fault: Fault) -> None:
    _write_under(sqlite_fleet, fault, 150_000, 4.0)


@pytest.mark.long
@FAULTS
def test_every_line_of_a_large_log_is_stored_once(sqlite_fleet: Fleet, fault: Fault) -> None:
    # Three times as much in Docker's files as a buffer of 64 MB held in its own encoding.
    _write_under(sqlite_fleet, fault, 3_000_000, 10.0)


def _write_under(fleet: Fleet, fault: Fault, count: int, seconds: float) -> None:
    fleet.worker("-c", "1")
    (id,) = fleet.submit(f"name: counts\nimage: busybox:1.36\nrun: echo 1; sleep 1; seq 2 {count}\n")
    wait_until(lambda: fleet.log(id), 30)
    fault(fleet, seconds)
    (task,) = fleet.ended([id], 600)
    assert task.state is TaskState.COMPLETED, fleet.story(id)
    with fleet.db.read() as c:
        head = logs.head(c, id)
        after, number = -1, 0
        while batch := logs.chunks(c, id, after):
            for _, _, text in (frame for chunk in batch for frame in chunk.frames):
                number += 1
                assert text == f"{number}\n", "a line is missing, came twice, or is a note"
            after = batch[-1].seq
    assert number == head.lines == count
    assert head.missing_bytes == 0
