"""Cancels that meet a worker in the middle of a step, a dead worker, an adopter, a retry or a waiting message."""

from __future__ import annotations

import pytest

from engine.lifecycle.cancel import cancel
from engine.model.states import LinkState, TaskState
from engine.store import tasks
from tests.support.callers import TESTER
from tests.support.counting_task import counting_task, wait_until_counting
from tests.support.docker_events import container_events
from tests.support.fleet import Fleet
from tests.support.held_task import held_task, release
from tests.support.held_worker import MODULE, Holds
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

both_stores = pytest.mark.parametrize(
    "fleet", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
#: Where a cancel finds a link: claimed, created, confirmed, ended, recorded with the next one not begun.
SPANS = ("claim.committed", "prepare.created", "confirm.committed", "go.ended", "finish.committed")
CHAIN = """
name: chain
image: busybox:1.36
volumes: [/data]
run: "echo main"
pre:
  - {name: first, image: "busybox:1.36", run: "echo pre"}
retry: {limit: 3, initialDelay: 100ms}
"""
FAILS = "name: fails\nimage: busybox:1.36\nrun: exit 3\nretry: {limit: 3, initialDelay: 4s}\n"
SHORT = "name: short\nimage: busybox:1.36\ncmd: ['true']\n"


def _assert_cancelled(fleet: Fleet, task_id: str) -> None:
    """Check that the task is CANCELLED, once, with every link of its run closed."""
    task = fleet.task(task_id)
    said = fleet.story(task_id)
    assert task.state is TaskState.CANCELLED, said
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and TaskState(e.to_state or "").ended]
    assert len(ends) == 1, said
    assert {link.state for link in fleet.links(task_id)} <= {LinkState.ENDED, LinkState.SKIPPED}, said


def _assert_serves(fleet: Fleet, count: int = 1) -> None:
    """Check that the workers take new work, and that the cancelled task has left nothing."""
    ended = fleet.ended(fleet.submit(SHORT, count), 60)
    assert {task.state for task in ended} == {TaskState.COMPLETED}
    wait_until(lambda: not fleet.left_over(), 40)


@both_stores
def test_a_cancel_at_each_step_of_a_link_ends_it_once_and_leaves_nothing(fleet: Fleet) -> None:
    holds = Holds(fleet.directory / "holds", *SPANS)
    with container_events(fleet.installation.id) as seen:
        fleet.worker("-c", "5", module=MODULE, **holds.environment)
        ids = {}
        for step in SPANS:
            (ids[step],) = fleet.submit(CHAIN)
            holds.wait_for(step)
        for task_id in ids.values():
            assert cancel(fleet.installation, TESTER, task_id) == (task_id,)
        holds.release(SPANS)
        # As many tasks at once as there are slots: a stuck thread would leave one of them waiting.
        _assert_serves(fleet, 5)
    for task_id in ids.values():
        _assert_cancelled(fleet, task_id)
        begun = [e.reason for e in fleet.events(task_id) if e.to_state == LinkState.CONFIRMED]
        assert not [reason for reason in begun if "main" in (reason or "")], "the chain did not go on"
    for step in ("claim.committed", "prepare.created"):
        # A node that lapsed on a loaded machine had retaken the task before the cancel.
        assert not seen.starts(ids[step]) or fleet.task(ids[step]).delivery > 1
    assert all(seen.starts(task_id).total() <= 1 for task_id in ids.values())


@pytest.mark.long
def test_a_cancel_while_another_takes_over_kills_what_it_found(fleet: Fleet) -> None:
    holds = Holds(fleet.directory / "holds", "take_over.committed")
    doomed = fleet.worker("-c", "1")
    fleet.worker("-Q", "other", "-c", "1", module=MODULE, **holds.environment)
    (task_id,) = fleet.submit(counting_task(600))
    wait_until_counting(fleet, task_id)
    doomed.kill()
    holds.wait_for("take_over.committed")
    cancel(fleet.installation, TESTER, task_id)
    holds.release(["take_over.committed"])
    wait_until(lambda: not fleet.left_over(), 40)
    _assert_cancelled(fleet, task_id)
    fleet.worker("-c", "1")
    _assert_serves(fleet)


@pytest.mark.long
@pytest.mark.parametrize("is_adopted", [False, True], ids=["nobody there", "another beside"])
def test_a_cancel_while_its_node_is_dead_is_carried_out_by_the_next(fleet: Fleet, is_adopted: bool) -> None:
    doomed = fleet.worker("-c", "1")
    if is_adopted:
        fleet.worker("-Q", "other", "-c", "1")
    (task_id,) = fleet.submit(counting_task(600))
    wait_until_counting(fleet, task_id)
    doomed.kill()
    # At once: its node is LIVE still by its row.
    cancel(fleet.installation, TESTER, task_id)
    _assert_cancelled(fleet, task_id)
    if not is_adopted:
        assert [thing.state for thing in fleet.left_over()] == ["running"], "nobody could kill it"
        fleet.worker("-c", "1")
    wait_until(lambda: not fleet.left_over(), 40)
    _assert_cancelled(fleet, task_id)
    if is_adopted:
        fleet.worker("-c", "1")
    _assert_serves(fleet)


@pytest.mark.long
def test_a_cancel_while_the_message_waits_starts_nothing(fleet: Fleet) -> None:
    ids = fleet.submit(CHAIN, 3)
    wait_until(lambda: {fleet.task(id).state for id in ids} == {TaskState.SCHEDULED}, 20)
    for task_id in ids:
        cancel(fleet.installation, TESTER, task_id)
    fleet.worker("-c", "1")
    _assert_serves(fleet)
    for task_id in ids:
        _assert_cancelled(fleet, task_id)
        assert not fleet.links(task_id), "nobody claimed it"


@pytest.mark.long
def test_a_cancel_while_a_retry_waits_also_over_a_restart_starts_nothing(fleet: Fleet) -> None:
    doomed = fleet.worker("-c", "1")
    ids = fleet.submit(FAILS, 2)
    wait_until(lambda: [fleet.task(id).attempt for id in ids] == [2, 2], 40)
    assert cancel(fleet.installation, TESTER, ids[0]) == (ids[0],)
    doomed.kill()
    cancel(fleet.installation, TESTER, ids[1])
    due = max(fleet.task(id).not_before for id in ids)
    fleet.worker("-c", "1")
    wait_until(lambda: _now(fleet) > due + 2000, 30)
    _assert_serves(fleet)
    for task_id in ids:
        _assert_cancelled(fleet, task_id)
        assert {link.attempt for link in fleet.links(task_id)} == {1}


def _now(fleet: Fleet) -> int:
    with fleet.db.read() as c:
        return tasks.now(c)


@pytest.mark.long
@pytest.mark.parametrize("step", ["flush.read", "flush.published"])
def test_a_cancel_while_the_retry_is_being_sent_starts_nothing(fleet: Fleet, step: str) -> None:
    holds = Holds(fleet.directory / "holds")
    fleet.worker("-c", "1", module=MODULE, **holds.environment)
    (task_id,), (busy,) = fleet.submit(FAILS), fleet.submit(held_task())
    # It has the only slot once the first attempt has failed: what is sent then stays a message.
    wait_until(lambda: "begun" in fleet.log(busy), 40)
    # From here on only the worker sends.
    fleet.flusher.stop()
    assert fleet.task(task_id).attempt == 2
    holds.arm(step)
    holds.wait_for(step)
    cancel(fleet.installation, TESTER, task_id)
    holds.release([step])
    release(fleet.links(busy)[0].container_id or "")
    _assert_serves(fleet)
    _assert_cancelled(fleet, task_id)
    assert {link.attempt for link in fleet.links(task_id)} == {1}
