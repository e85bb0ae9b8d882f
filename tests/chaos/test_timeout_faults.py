"""Time-outs and retries while workers die: whoever finds the container ends it, and no retry runs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.lifecycle.nodes import lapse
from engine.model.states import LinkState, TaskState
from engine.reconcile.timeouts import Timeouts
from engine.store.tables import attempts
from tests.support.callers import TESTER
from tests.support.counting_task import wait_until_counting
from tests.support.docker_daemon import BUSYBOX, Daemon, provide, second_daemon_possible
from tests.support.docker_events import ContainerEvents, container_events
from tests.support.fleet import Fleet
from tests.support.held_task import release
from tests.support.held_worker import MODULE, Holds
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

#: Counts until it is released, and ignores TERM. (As a command: with `run` another shell would be before it.)
COUNT = "n=0; while [ ! -e /go ]; do n=$((n+1)); echo line $n; sleep 0.1 || :; done; echo -n kept > $FERRYMAN_OUTPUT"
STUBBORN = f"""
name: stubborn
image: busybox:1.36
timeout: 10m
cmd: [sh, -c, "trap 'echo TERM' TERM; {COUNT}"]
"""
AGAIN = STUBBORN + "retry: {limit: 1, initialDelay: 100ms}\n"
ERROR = "main: timed out after 10m"


def _let_its_time_pass(fleet: Fleet, task_id: str) -> None:
    """Set the start of the present attempt back by ten minutes, so that no test waits for a time-out."""
    with fleet.db.begin() as c:
        earlier = {"started_at": attempts.c.started_at - 600_000}
        mine = attempts.c.task_id == task_id, attempts.c.ended_at.is_(None)
        assert c.execute(attempts.update().where(*mine).values(earlier)).rowcount == 1


def _overdue(fleet: Fleet) -> tuple[str, str]:
    """Kill the worker of an AGAIN task, let the task's time pass, and return its container."""
    doomed = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(AGAIN)
    container = wait_until_counting(fleet, task_id)
    doomed.kill()
    _let_its_time_pass(fleet, task_id)
    return task_id, container


def _second_attempt(fleet: Fleet, task_id: str) -> str:
    """Wait until the container of the second attempt runs; return its id."""
    wait_until(lambda: fleet.task(task_id).attempt == 2, 60)
    (container,) = wait_until(
        lambda: [one.container_id for one in fleet.links(task_id) if one.attempt == 2 and one.container_id],
        60,
    )
    wait_until(lambda: fleet.log(task_id).count("line 1\n") == 2, 60)
    return container or ""


def _assert_ends_well(fleet: Fleet, task_id: str, attempt: int) -> None:
    """Check that the task completes once and leaves nothing."""
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.result) == (TaskState.COMPLETED, attempt, "kept"), fleet.story(
        task_id
    )
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and TaskState(e.to_state or "").ended]
    assert len(ends) == 1, fleet.story(task_id)
    wait_until(lambda: not fleet.left_over(), 40)


def _assert_first_was_killed(fleet: Fleet, task_id: str, container: str) -> None:
    """Check that the first attempt's end is that of its container, with the log to the end."""
    first = [link for link in fleet.links(task_id) if link.attempt == 1]
    assert [(link.state, link.container_id) for link in first] == [(LinkState.ENDED, container)]
    assert first[0].exit_code and first[0].error == "timed out after 10m", fleet.story(task_id)
    lines = fleet.log(task_id).splitlines()
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line")]
    again = numbers.index(1, 1) if 1 in numbers[1:] else len(numbers)
    assert numbers[:again] == list(range(1, again + 1)), "no gap and no doubled line"


@pytest.fixture
def events(fleet: Fleet) -> Iterator[ContainerEvents]:
    """Collect the daemon's events from the start of the test."""
    with container_events(fleet.installation.id) as found:
        yield found


@pytest.mark.long
def test_a_time_out_that_was_reached_while_no_worker_was_there_is_carried_out_by_the_next(
    fleet: Fleet, events: ContainerEvents
) -> None:
    task_id, container = _overdue(fleet)
    fleet.worker("-c", "2")
    release(_second_attempt(fleet, task_id))
    _assert_ends_well(fleet, task_id, 2)
    assert events.most_at_once(task_id) == 1, "the second attempt waited for the end of the first"
    _assert_first_was_killed(fleet, task_id, container)


@pytest.mark.long
def test_a_retry_on_another_daemon_waits_for_the_end_of_what_a_returning_worker_finds(
    sqlite_fleet: Fleet, tmp_path: Path
) -> None:
    if not second_daemon_possible():
        pytest.skip("a second dockerd needs root, dockerd and ip")
    fleet = sqlite_fleet
    holds = Holds(tmp_path / "holds", "take_over.committed")
    with Daemon(live_restore=True) as far:
        provide((BUSYBOX,), far.host)
        with container_events(fleet.installation.id, far.host) as events:
            doomed = fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=far.host)
            (task_id,) = fleet.submit(AGAIN)
            container = wait_until_counting(fleet, task_id)
            # Live and idle from now on: this worker gets the retry as soon as there is one.
            fleet.worker("-c", "1", FERRYMAN_GRACE_MIN_SECONDS="600")
            doomed.kill()
            environment = holds.environment | {"FERRYMAN_DOCKER_HOST": far.host}
            fleet.worker("-Q", "far", "-c", "1", wait=False, module=MODULE, **environment)
            holds.wait_for("take_over.committed")
            _let_its_time_pass(fleet, task_id)
            holds.release(["take_over.committed"])
            release(_second_attempt(fleet, task_id))
            _assert_ends_well(fleet, task_id, 2)
            assert events.most_at_once(task_id) == 1
            assert events.starts(task_id).total() == 2
        _assert_first_was_killed(fleet, task_id, container)


@pytest.mark.long
def test_what_ended_in_time_while_no_worker_was_there_has_ended_well(fleet: Fleet) -> None:
    doomed = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(AGAIN)
    container = wait_until_counting(fleet, task_id)
    doomed.kill()
    release(container)
    wait_until(lambda: [t.state for t in fleet.left_over() if t.kind == "container"] == ["exited"], 30)
    _let_its_time_pass(fleet, task_id)
    fleet.worker("-c", "1")
    _assert_ends_well(fleet, task_id, 1)
    (link,) = fleet.links(task_id)
    assert (link.container_id, link.exit_code) == (container, 0)
    lines = fleet.log(task_id).splitlines()
    assert lines == [f"line {n}" for n in range(1, len(lines) + 1)]


@pytest.mark.long
def test_a_worker_that_dies_while_it_kills_for_a_time_out_leaves_the_rest_to_the_next(
    fleet: Fleet, events: ContainerEvents
) -> None:
    task_id, container = _overdue(fleet)
    doomed = fleet.worker("-c", "1", wait=False, FERRYMAN_KILL_GRACE_SECONDS="60")
    wait_until(lambda: "TERM\n" in fleet.log(task_id), 60)
    doomed.kill()
    fleet.worker("-c", "2")
    release(_second_attempt(fleet, task_id))
    _assert_ends_well(fleet, task_id, 2)
    assert events.most_at_once(task_id) == 1
    _assert_first_was_killed(fleet, task_id, container)


@pytest.mark.long
def test_a_time_out_without_any_worker_ends_the_task_and_its_container_goes_when_one_is_back(
    fleet: Fleet, events: ContainerEvents
) -> None:
    doomed = fleet.worker("-c", "2")
    (once,), (again,) = fleet.submit(STUBBORN), fleet.submit(AGAIN)
    wait_until_counting(fleet, once)
    wait_until_counting(fleet, again)
    doomed.kill()
    _let_its_time_pass(fleet, once)
    _let_its_time_pass(fleet, again)
    # As in the process of an API, on a host without Docker.
    (node,) = fleet.nodes()
    assert lapse(fleet.installation, TESTER, node)
    assert Timeouts(fleet.installation, TESTER).run() == 2
    task = fleet.task(once)
    assert (task.state, task.error) == (TaskState.FAILED, "timed out after 10m, while its node was away")
    assert fleet.task(again).attempt == 2
    assert [t.state for t in fleet.left_over()] == ["running", "running"], "nobody could kill them"
    fleet.worker("-c", "2")
    release(_second_attempt(fleet, again))
    _assert_ends_well(fleet, again, 2)
    assert events.most_at_once(again) == 1, "the old container was removed before the retry began"
    assert events.starts(once).total() == 1


@pytest.mark.long
def test_the_delays_of_retries_grow_and_hold_over_restarts_of_the_worker(fleet: Fleet) -> None:
    policy = "retry: {limit: 2, initialDelay: 4s, scalingFactor: 2, jitter: 0}\n"
    doomed = fleet.worker("-c", "1")
    (task_id,) = fleet.submit("name: fails\nimage: busybox:1.36\nrun: exit 3\n" + policy)
    wait_until(lambda: fleet.task(task_id).state is TaskState.RUNNING, 20)
    # From here on only workers send, and none knows of the one before.
    fleet.flusher.stop()
    for attempt in (2, 3):
        wait_until(lambda: fleet.task(task_id).attempt == attempt, 60)  # noqa: B023 - asked in this very loop
        doomed.kill()
        doomed = fleet.worker("-c", "1")
    (task,) = fleet.ended([task_id], 100)
    assert (task.state, task.attempt, task.crashes) == (TaskState.FAILED, 3, 0), fleet.story(task_id)
    changes = [e for e in fleet.events(task_id) if e.kind == "task"]
    ended = [e.time for e in changes if e.from_state == TaskState.RUNNING]
    begun = [e.time for e in changes if e.to_state == TaskState.RUNNING]
    waited = [later - earlier for later, earlier in zip(begun[1:], ended, strict=False)]
    assert len(waited) == 2 and waited[0] >= 4000 and waited[1] >= 8000, waited
