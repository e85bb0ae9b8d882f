"""Last words of a cancelled task: its log and its exit code are taken from its own last delivery, for a while."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from engine.lifecycle.append_log import append_log
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import claim, resume
from engine.lifecycle.restart import give_back
from engine.lifecycle.take_over import self_take_over
from engine.model.last_words import window_ms
from engine.model.records import LogPosition
from engine.model.states import LinkState, NodeState, TaskState
from engine.runtime.base import Resource
from engine.store import last_words, logs, tables
from engine.worker.daemon.sweeper import read_owners, unowned
from tests.support.callers import TESTER, by
from tests.support.verb_world import World


def _says(world: World, assignment: Assignment, text: str) -> bool:
    with world.db.read() as c:
        next_seq = logs.next_chunk(c, assignment.token.task_id)
    pieces = [logs.piece([(1, "s", text)])]
    return append_log(world.installation, assignment, pieces, LogPosition(), next_seq) is not None


def _text(world: World, task_id: str) -> str:
    with world.db.read() as c:
        return "".join(text for chunk in logs.chunks(c, task_id) for _, _, text in chunk.frames)


def _cancelled_ago(world: World, task_id: str, milliseconds: int) -> None:
    """Let the cancel lie this long in the past."""
    ended = sa.update(tables.tasks).where(tables.tasks.c.id == task_id)
    with world.db.begin() as c:
        c.execute(ended.values(ended_at=tables.tasks.c.ended_at - milliseconds))


def _is_speaking(world: World, task_id: str) -> bool:
    with world.db.read() as c:
        return last_words.speaking(c, [task_id], world.installation.last_words_ms) == {task_id: "n1"}


def test_a_cancelled_task_takes_the_log_of_its_own_delivery(world: World) -> None:
    assignment = world.confirmed()
    assert _says(world, assignment, "working\n")
    cancel(world.installation, TESTER, assignment.token.task_id)
    assert _says(world, assignment, "cleaned\n")
    assert _text(world, assignment.token.task_id) == "working\ncleaned\n"


def test_the_time_for_last_words_is_bounded(world: World) -> None:
    assignment = world.confirmed()
    task_id, window = assignment.token.task_id, world.installation.last_words_ms
    assert window == window_ms(1.0, 0.8) == 62_800
    cancel(world.installation, TESTER, task_id)
    _cancelled_ago(world, task_id, window - 5_000)
    assert _says(world, assignment, "in time\n")
    _cancelled_ago(world, task_id, 5_000)
    assert not _says(world, assignment, "too late\n")
    assert not _is_speaking(world, task_id)
    assert _text(world, task_id) == "in time\n"


def test_an_older_delivery_has_no_last_words(world: World) -> None:
    old = world.confirmed()
    token = self_take_over(world.installation, by("n1"), old.token, "test")
    new = resume(world.installation, by("n1"), token) if token is not None else None
    assert new is not None
    cancel(world.installation, TESTER, old.token.task_id)
    assert not _says(world, old, "old\n")
    assert _says(world, new, "new\n")


def test_a_run_that_was_given_back_before_the_cancel_has_no_last_words(world: World) -> None:
    old = world.confirmed()
    assert give_back(world.installation, by("n1"), old.token, "test")
    task_id = old.token.task_id
    cancel(world.installation, TESTER, task_id)
    assert not _says(world, old, "old\n")
    assert not _is_speaking(world, task_id)
    assert claim(world.installation, by("n1"), world.task(task_id).token) is None


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED])
def test_only_a_cancelled_task_has_last_words(world: World, state: TaskState) -> None:
    assignment = world.confirmed()
    assert world.end(assignment, 0 if state is TaskState.COMPLETED else 3) is not None
    assert world.task(assignment.token.task_id).state is state
    assert not _says(world, assignment, "late\n")


def test_the_exit_code_of_a_cancelled_container_is_noted_once_and_changes_no_state(world: World) -> None:
    assignment = world.confirmed()
    task_id = assignment.token.task_id
    cancel(world.installation, TESTER, task_id)
    assert _is_speaking(world, task_id)
    assert world.end(assignment, 7, container="another") is None
    assert world.links(task_id)[0].exit_code is None
    assert world.end(assignment, 143) is None
    assert world.end(assignment, 9) is None
    link, task = world.links(task_id)[0], world.task(task_id)
    assert (link.state, link.exit_code, link.error) == (LinkState.ENDED, 143, "cancelled")
    assert (task.state, task.exit_code) == (TaskState.CANCELLED, None)
    notes = [event.reason for event in world.events(task_id) if event.kind in ("note", "late")]
    assert notes == ["main: ended after the cancel with exit code 143"]
    assert not _is_speaking(world, task_id)


def test_the_container_of_a_cancelled_task_stays_until_its_node_has_read_it(world: World) -> None:
    assignment = world.confirmed()
    run = assignment.order.run
    mine = Resource("container", "c0", assignment.order.name, run, 0, "running")
    older = Resource("container", "c9", "c9", run._replace(origin=run.origin + 1), 0, "running")
    cancel(world.installation, TESTER, run.task_id)
    assert unowned([mine, older], read_owners(world.installation, [mine, older])) == [older]
    # Its own node knows better: a thread that let go, because Docker was silent, reads no more.
    for has_thread in (True, False):
        owners = read_owners(world.installation, [mine], "n1", lambda _, known=has_thread: known)
        assert unowned([mine], owners) == ([] if has_thread else [mine])
    world.lapse("n1")
    assert world.node("n1").state is NodeState.LAPSED
    assert unowned([mine], read_owners(world.installation, [mine])) == [mine]


def test_a_container_that_ended_after_its_cancel_has_no_owner(world: World) -> None:
    assignment = world.confirmed()
    mine = Resource("container", "c0", assignment.order.name, assignment.order.run, 0, "exited")
    cancel(world.installation, TESTER, assignment.token.task_id)
    world.end(assignment, 143)
    assert unowned([mine], read_owners(world.installation, [mine])) == [mine]
