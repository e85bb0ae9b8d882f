"""Ends of tasks on a real worker: failures, posts, retries, cancel, time-out, results."""

from __future__ import annotations

import time

import pytest

from engine.lifecycle.cancel import cancel
from engine.model.states import LinkState, TaskState
from tests.support.callers import TESTER
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
def fleet(sqlite_fleet: Fleet) -> Fleet:
    sqlite_fleet.worker("-c", "4")
    return sqlite_fleet


def run(fleet: Fleet, text: str) -> str:
    (id,) = fleet.submit(text)
    fleet.ended([id], 40)
    return id


def states(fleet: Fleet, id: str) -> list[tuple[LinkState, int | None]]:
    return [(link.state, link.exit_code) for link in fleet.links(id)]


def test_failures_stop_the_chain_and_always_posts_run(fleet: Fleet) -> None:
    failing_pre = run(
        fleet,
        "name: pre fails\nimage: busybox:1.36\ncmd: ['true']\n"
        "pre: [{name: look, image: 'busybox:1.36', run: 'exit 3'}]\n"
        "post:\n  - {image: 'busybox:1.36', cmd: ['true']}\n"
        "  - {image: 'busybox:1.36', run: 'echo tidy', always: true}\n",
    )
    task = fleet.task(failing_pre)
    assert (task.state, task.exit_code) == (TaskState.FAILED, 3)
    assert task.error is not None and task.error.startswith("pre 0 (look): ") and "3" in task.error
    skipped = (LinkState.SKIPPED, None)
    assert states(fleet, failing_pre) == [(LinkState.ENDED, 3), skipped, skipped, (LinkState.ENDED, 0)]
    assert fleet.log(failing_pre) == "tidy\n"
    failing_post = run(
        fleet,
        "name: post fails\nimage: busybox:1.36\ncmd: ['true']\npost: [{image: 'busybox:1.36', run: 'exit 4'}]\n",
    )
    assert (fleet.task(failing_post).state, fleet.task(failing_post).exit_code) == (TaskState.FAILED, 4)


def test_a_retry_is_a_new_attempt_in_a_fresh_volume(fleet: Fleet) -> None:
    id = run(
        fleet,
        "name: again\nimage: busybox:1.36\nvolumes: [/data]\nretry: {limit: 1}\n"
        "run: 'ls /data; echo x > /data/left; exit 5'\n",
    )
    task = fleet.task(id)
    assert (task.state, task.attempt, task.exit_code) == (TaskState.FAILED, 2, 5)
    assert fleet.log(id) == "", "the second attempt met nothing of the first"
    assert [event.to_state for event in fleet.events(id) if event.kind == "task"].count("FAILED") == 1
    wait_until(lambda: not fleet.left_over(), 15)


def test_a_task_that_runs_too_long_is_killed_and_says_so(fleet: Fleet) -> None:
    began = time.monotonic()
    id = run(fleet, "name: slow\nimage: busybox:1.36\ncmd: [sleep, '60']\ntimeout: 2s\n")
    assert fleet.task(id).error == "main: timed out after 2s"
    assert time.monotonic() - began < 20
    wait_until(lambda: not fleet.left_over(), 15)


@pytest.mark.parametrize("ignores", [False, True], ids=["heeds TERM", "ignores TERM"])
def test_cancel_kills_the_container(fleet: Fleet, ignores: bool) -> None:
    trap = "trap '' TERM; " if ignores else ""
    (id,) = fleet.submit(
        f'name: stop me\nimage: busybox:1.36\nrun: "{trap}echo up; sleep 60 & wait; sleep 60"\n'
    )
    wait_until(lambda: fleet.log(id) == "up\n", 20)
    cancel(fleet.installation, TESTER, id)
    # 2 s on a quiet machine; the test allows for a busy one.
    wait_until(lambda: not [thing for thing in fleet.left_over() if thing.state == "running"], 8)
    assert fleet.task(id).state is TaskState.CANCELLED
    wait_until(lambda: not fleet.left_over(), 15)


def test_results_come_from_the_output_file_else_from_stdout(fleet: Fleet) -> None:
    moved = "echo noise; echo -n from the file > /tmp/x; mv /tmp/x $FERRYMAN_OUTPUT"
    by_file = run(fleet, f"name: file\nimage: busybox:1.36\nrun: '{moved}'\n")
    assert fleet.task(by_file).result == "from the file"
    by_tork = run(fleet, "name: tork\nimage: busybox:1.36\nrun: 'echo -n t > $TORK_OUTPUT'\n")
    assert fleet.task(by_tork).result == "t"
    plain = run(fleet, "name: out\nimage: busybox:1.36\nrun: 'echo line; echo err >&2'\n")
    assert fleet.task(plain).result == "line\n"


def test_a_task_out_of_memory_says_which_limit(fleet: Fleet) -> None:
    id = run(
        fleet,
        "name: big\nimage: busybox:1.36\nlimits: {memory: 16m}\n"
        "run: 'head -c 200m /dev/zero | tail -c 190m > /dev/null'\n",
    )
    task = fleet.task(id)
    assert task.state is TaskState.FAILED
    assert task.error is not None and "memory" in task.error
