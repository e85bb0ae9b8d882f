"""submit, resend, cancel and the reconciler's time-out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import NotFound
from engine.jobspec.task import Retry
from engine.lifecycle import nodes
from engine.lifecycle.cancel import AlreadyEnded, cancel, cancel_job
from engine.lifecycle.resend import resend
from engine.lifecycle.restart import restart
from engine.lifecycle.take_over import take_over
from engine.lifecycle.timeout import timeout
from engine.model.records import Task, Token
from engine.model.states import JobState, NodeState, TaskState
from engine.store import outbox, tasks
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens

TOKENS = sorted(wrong_tokens(Token("", 1, 1)))


def test_a_submitted_task_is_pending_and_due(world: World) -> None:
    task = world.submitted(name="say hello", queue="transcoding", priority=7)
    assert (task.state, task.attempt, task.delivery, task.origin) == (TaskState.PENDING, 1, 1, 0)
    assert (task.queue, task.priority, task.node) == ("transcoding", 7, None)
    assert task.not_before <= world.now
    assert world.job_of(task.id).state is JobState.PENDING
    assert [(e.kind, e.from_state, e.to_state) for e in world.events(task.id)] == [("task", None, "PENDING")]
    assert [e.author for e in world.events(task.id)] == ["user:tester"]


def test_a_lost_message_is_due_again_with_its_numbers_unchanged(world: World) -> None:
    task = world.scheduled()
    assert resend(world.installation, TESTER, [task], "its message seems lost") == 1
    after = world.task(task.id)
    assert (after.state, after.token) == (TaskState.PENDING, task.token)
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state) == ("repair", "SCHEDULED", "PENDING")


def _somewhere_else(world: World, state: TaskState) -> Task:
    if state is TaskState.PENDING:
        return world.submitted()
    found = world.confirmed()
    if state is TaskState.COMPLETED:
        world.end(found)
    elif state is TaskState.FAILED:
        world.end(found, 1)
    elif state is TaskState.CANCELLED:
        cancel(world.installation, TESTER, found.token.task_id)
    return world.task(found.token.task_id)


STATES = [
    TaskState.PENDING,
    TaskState.RUNNING,
    TaskState.COMPLETED,
    TaskState.FAILED,
    TaskState.CANCELLED,
]


@pytest.mark.parametrize("state", STATES)
def test_only_scheduled_rows_are_sent_again(world: World, state: TaskState) -> None:
    task = _somewhere_else(world, state)
    assert task.state is state
    with world.unchanged():
        assert resend(world.installation, TESTER, [task], "test") == 0


@pytest.mark.parametrize("state", [s for s in STATES if s is not TaskState.PENDING])
def test_only_pending_rows_are_marked_as_sent(world: World, state: TaskState) -> None:
    task = _somewhere_else(world, state)
    with world.unchanged(), world.db.begin() as c:
        assert not outbox.mark_sent(c, [task])


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_is_marked_as_sent_under_a_wrong_token(world: World, wrong: str) -> None:
    task = world.submitted()
    token = wrong_tokens(task.token)[wrong]
    other = replace(task, id=token.task_id, attempt=token.attempt, delivery=token.delivery)
    with world.unchanged(), world.db.begin() as c:
        assert not outbox.mark_sent(c, [other])


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_is_sent_again_under_a_wrong_token(world: World, wrong: str) -> None:
    task = world.scheduled()
    token = wrong_tokens(task.token)[wrong]
    other = replace(task, id=token.task_id, attempt=token.attempt, delivery=token.delivery)
    with world.unchanged():
        assert resend(world.installation, TESTER, [other], "test") == 0


def test_of_a_batch_only_what_still_stands_as_it_was_read_is_marked_and_sent_again(world: World) -> None:
    waits, gone, moved = world.submitted(), world.submitted(), world.submitted()
    cancel(world.installation, TESTER, gone.id)
    world.set(moved.id, delivery=2)
    with world.db.begin() as c:
        assert [task.id for task in outbox.mark_sent(c, [moved, gone, waits])] == [waits.id]
    before = world.task(moved.id)
    assert (before.state, before.sends) == (TaskState.PENDING, 0)
    sent, later = world.task(waits.id), world.scheduled()
    claimed = world.claimed("n1")
    with world.db.begin() as c:
        assert {task.id for task in outbox.mark_sent(c, [moved, sent, later])} == set()
    assert (
        resend(world.installation, TESTER, [later, world.task(claimed.token.task_id), moved, sent], "test")
        == 2
    )
    assert {world.task(task.id).state for task in (sent, later)} == {TaskState.PENDING}
    assert [e.kind for e in world.events(later.id)][-1] == "repair"


# cancel


@pytest.mark.parametrize("state", ["PENDING", "SCHEDULED", "RUNNING"])
@pytest.mark.parametrize("whole_job", [False, True], ids=["task", "job"])
def test_what_has_not_ended_is_cancelled_with_its_job(world: World, state: str, whole_job: bool) -> None:
    if state == "RUNNING":
        task = world.task(world.confirmed(post=1).token.task_id)
    else:
        task = world.submitted(post=1) if state == "PENDING" else world.scheduled(post=1)
    done = (
        cancel_job(world.installation, TESTER, task.job_id)
        if whole_job
        else cancel(world.installation, TESTER, task.id)
    )
    assert done == (task.id,)
    after, job = world.task(task.id), world.job_of(task.id)
    assert (after.state, job.state) == (TaskState.CANCELLED, JobState.CANCELLED)
    assert after.ended_at and job.ended_at
    last = [event for event in world.events(task.id) if event.kind == "task"][-1]
    assert (last.from_state, last.to_state) == (state, "CANCELLED")
    if state == "RUNNING":
        assert [link.state for link in world.links(task.id)] == ["ENDED", "SKIPPED"]
        assert world.attempts(task.id)[0].state is TaskState.CANCELLED
    # A second time is no error, and does nothing.
    with world.unchanged():
        assert cancel(world.installation, TESTER, task.id) == ()
        assert cancel_job(world.installation, TESTER, task.job_id) == ()


@pytest.mark.parametrize("code", [0, 1])
def test_what_ended_otherwise_cannot_be_cancelled(world: World, code: int) -> None:
    found = world.confirmed()
    world.end(found, code)
    task = world.task(found.token.task_id)
    with world.unchanged():
        with pytest.raises(AlreadyEnded):
            cancel(world.installation, TESTER, task.id)
        with pytest.raises(AlreadyEnded):
            cancel_job(world.installation, TESTER, task.job_id)
        with world.db.begin() as c:
            assert not tasks.cancel(c, task.id), "the store's own guard, below the verb's"


def test_what_is_not_there_cannot_be_cancelled(world: World) -> None:
    for verb in (cancel, cancel_job):
        with pytest.raises(NotFound):
            verb(world.installation, TESTER, "0" * 32)


# timeout


def _overdue(world: World, node: str = "n1", **fields: object) -> Token:
    token = world.confirmed(node, timeout="10s", **fields).token
    world.set_attempt(token.task_id, started_at=world.now - 10_000)
    return token


@pytest.mark.parametrize("state", [NodeState.LAPSED, NodeState.LEFT])
def test_an_attempt_past_its_time_fails_when_its_node_is_gone(world: World, state: NodeState) -> None:
    token = _overdue(world)
    _ = world.lapse("n1") if state is NodeState.LAPSED else world.leave("n1")
    assert timeout(world.installation, TESTER, token)
    task = world.task(token.task_id)
    assert task.state is TaskState.FAILED
    assert task.error is not None and "timed out after 10s" in task.error
    assert world.job_of(task.id).state is JobState.FAILED


def test_an_attempt_past_its_time_is_tried_again(world: World) -> None:
    token = _overdue(world, retry=Retry(limit=1))
    world.lapse("n1")
    assert timeout(world.installation, TESTER, token)
    task = world.task(token.task_id)
    assert (task.state, task.attempt, task.delivery, task.crashes) == (TaskState.PENDING, 2, 1, 0)


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_times_out_under_a_wrong_token(world: World, wrong: str) -> None:
    token = _overdue(world)
    world.lapse("n1")
    with world.unchanged():
        assert not timeout(world.installation, TESTER, wrong_tokens(token)[wrong])


@pytest.mark.parametrize("state", [NodeState.LIVE, NodeState.LEAVING])
def test_a_beating_nodes_attempt_is_its_own_to_end(world: World, state: NodeState) -> None:
    token = _overdue(world)
    if state is NodeState.LEAVING:
        nodes.drain(world.installation, TESTER, "n1")
    with world.unchanged():
        assert not timeout(world.installation, TESTER, token)


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.LIVE])
def test_a_node_that_has_not_looked_blocks_a_time_out(world: World, state: NodeState) -> None:
    token = _overdue(world, retry=Retry(limit=1))
    world.in_state("n2", state)
    number = world.lapse("n1")
    nodes.looked(world.installation, by("n2"), number - 1)
    with world.unchanged():
        assert not timeout(world.installation, TESTER, token)
    nodes.looked(world.installation, by("n2"), number)
    assert timeout(world.installation, TESTER, token)


def test_a_node_whose_docker_is_silent_blocks_no_time_out(world: World) -> None:
    token = _overdue(world)
    world.live("n2")
    nodes.runtime_silent(world.installation, by("n2"))
    world.lapse("n1")
    assert timeout(world.installation, TESTER, token)


def test_an_attempt_whose_time_is_not_over_goes_on(world: World) -> None:
    token = world.confirmed(timeout="10s").token
    endless = world.confirmed().token
    world.lapse("n1")
    with world.unchanged():
        assert not timeout(world.installation, TESTER, token)
        assert not timeout(world.installation, TESTER, endless)


def test_what_was_taken_over_or_restarted_or_ended_does_not_time_out(world: World) -> None:
    taken, restarted, ended = _overdue(world), _overdue(world), _overdue(world)
    number = world.lapse("n1")
    assert restart(world.installation, TESTER, restarted, number)
    assert take_over(world.installation, by(world.live("n2")), taken, "found")
    cancel(world.installation, TESTER, ended.task_id)
    with world.unchanged():
        for token in (taken, restarted, ended):
            assert not timeout(world.installation, TESTER, token)
            assert not timeout(world.installation, TESTER, world.task(token.task_id).token)


def test_the_job_says_when_it_began_and_ended(world: World) -> None:
    found = world.confirmed()
    world.end(found)
    job = world.job_of(found.token.task_id)
    said = [(e.from_state, e.to_state) for e in world.events() if e.kind == "job" and e.job_id == job.id]
    assert said == [("PENDING", "RUNNING"), ("RUNNING", "COMPLETED")]
