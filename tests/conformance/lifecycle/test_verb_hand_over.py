"""take_over, self_take_over, restart, give_back: each guard violated once, and how crashes are counted."""

from __future__ import annotations

import pytest

from engine.lifecycle import nodes
from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.restart import give_back, restart
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.records import Token
from engine.model.states import JobState, LinkState, NodeState, TaskState
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens

TOKENS = sorted(wrong_tokens(Token("", 1, 1)))
GONE = [NodeState.LAPSED, NodeState.LEFT]


def _gone(world: World, state: NodeState, node: str = "n1") -> int:
    return world.lapse(node) if state is NodeState.LAPSED else world.leave(node)


# take_over


@pytest.mark.parametrize("mine", [NodeState.JOINING, NodeState.LIVE])
@pytest.mark.parametrize("former", GONE)
def test_a_gone_nodes_task_goes_to_a_joining_or_live_one(
    world: World, former: NodeState, mine: NodeState
) -> None:
    old = world.confirmed(volumes=("/tmp",))
    _gone(world, former)
    world.in_state("n2", mine)
    token = take_over(world.installation, by("n2"), old.token, "container c0 still runs")
    assert token == Token(old.token.task_id, 1, 2)
    task = world.task(token.task_id)
    assert (task.state, task.node, task.origin, task.delivery) == (TaskState.RUNNING, "n2", 1, 2)
    assert task.crashes == (1 if former is NodeState.LAPSED else 0)
    assert world.links(task.id)[0].state is LinkState.CONFIRMED
    assert world.attempts(task.id)[0].node == "n2"
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state, last.node) == ("repair", "RUNNING", "RUNNING", "n2")
    assert last.reason is not None and "container c0 still runs" in last.reason
    found = resume(world.installation, by("n2"), token)
    assert found is not None
    assert (found.order.name, found.order.volumes) == (old.order.name, old.order.volumes)


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_is_taken_over_under_a_wrong_token(world: World, wrong: str) -> None:
    token = world.confirmed().token
    world.lapse("n1")
    world.live("n2")
    with world.unchanged():
        assert take_over(world.installation, by("n2"), wrong_tokens(token)[wrong], "found") is None


@pytest.mark.parametrize("state", [NodeState.LIVE, NodeState.LEAVING])
def test_nothing_is_taken_from_a_node_that_beats(world: World, state: NodeState) -> None:
    token = world.confirmed().token
    if state is NodeState.LEAVING:
        nodes.drain(world.installation, TESTER, "n1")
    world.live("n2")
    with world.unchanged():
        assert take_over(world.installation, by("n2"), token, "found") is None


@pytest.mark.parametrize("state", [NodeState.LAPSED, NodeState.LEFT, NodeState.LEAVING])
def test_a_node_that_is_fenced_or_leaves_takes_nothing_over(world: World, state: NodeState) -> None:
    token = world.confirmed().token
    world.lapse("n1")
    world.in_state("n2", state)
    with world.unchanged():
        assert take_over(world.installation, by("n2"), token, "found") is None


@pytest.mark.parametrize("state", [NodeState.LAPSED, NodeState.LEFT, NodeState.LEAVING])
def test_a_node_that_is_fenced_gives_no_poison_pill_up(world: World, state: NodeState) -> None:
    token = world.confirmed().token
    world.set(token.task_id, crashes=4)
    world.lapse("n1")
    world.in_state("n2", state)
    with world.unchanged():
        assert take_over(world.installation, by("n2"), token, "found") is None


def test_nothing_is_taken_over_that_ended(world: World) -> None:
    done, cancelled = world.confirmed(), world.confirmed()
    world.end(done)
    cancel(world.installation, TESTER, cancelled.token.task_id)
    world.lapse("n1")
    world.live("n2")
    with world.unchanged():
        assert take_over(world.installation, by("n2"), done.token, "found") is None
        assert take_over(world.installation, by("n2"), cancelled.token, "found") is None


# Crashes: see docs/protocol.rst


def test_a_lapse_after_a_long_hold_begins_the_count_anew(world: World) -> None:
    token = world.confirmed().token
    calm_ms = round(world.installation.settings.cluster.calm_seconds * 1000)
    world.set(token.task_id, crashes=4, held_since=world.now - calm_ms)
    world.lapse("n1")
    assert take_over(world.installation, by(world.live("n2")), token, "found")
    assert world.task(token.task_id).crashes == 1


def test_a_lapse_after_a_short_hold_adds_one(world: World) -> None:
    token = world.confirmed().token
    world.set(token.task_id, crashes=3, held_since=world.now - 590_000)
    world.lapse("n1")
    assert take_over(world.installation, by(world.live("n2")), token, "found")
    assert world.task(token.task_id).crashes == 4


def test_leaving_in_order_counts_no_crash_even_when_it_lapses(world: World) -> None:
    token = world.confirmed().token
    world.set(token.task_id, crashes=4)
    nodes.drain(world.installation, TESTER, "n1")
    number = world.lapse("n1")
    assert world.node("n1").state is NodeState.LEFT
    assert restart(world.installation, TESTER, token, number)
    assert world.task(token.task_id).crashes == 4


@pytest.mark.parametrize("how", ["take_over", "restart"])
def test_a_poison_pill_fails_at_the_last_crash_that_is_allowed(world: World, how: str) -> None:
    token = world.confirmed().token
    world.set(token.task_id, crashes=4)
    number = world.lapse("n1")
    if how == "take_over":
        assert take_over(world.installation, by(world.live("n2")), token, "found") is None
    else:
        assert restart(world.installation, TESTER, token, number)
    task = world.task(token.task_id)
    assert task.state is TaskState.FAILED
    assert (
        task.error is not None
        and "after 5 worker crashes" in task.error
        and "FERRYMAN_MAX_CRASHES" in task.error
    )
    assert world.job_of(task.id).state is JobState.FAILED
    last = [event for event in world.events(task.id) if event.kind == "task"][-1]
    assert (last.from_state, last.to_state) == ("RUNNING", "FAILED")


# self_take_over


def test_a_live_node_takes_its_own_row_up_again(world: World) -> None:
    old = world.confirmed()
    token = self_take_over(world.installation, by("n1"), old.token, "no thread")
    assert token == Token(old.token.task_id, 1, 2)
    task = world.task(token.task_id)
    assert (task.node, task.crashes, task.origin) == ("n1", 0, 1)
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state) == ("repair", "RUNNING", "RUNNING")


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_is_taken_up_under_a_wrong_token(world: World, wrong: str) -> None:
    token = world.confirmed().token
    with world.unchanged():
        assert self_take_over(world.installation, by("n1"), wrong_tokens(token)[wrong], "test") is None


def test_a_node_takes_up_its_own_rows_only(world: World) -> None:
    token = world.confirmed().token
    world.live("n2")
    with world.unchanged():
        assert self_take_over(world.installation, by("n2"), token, "test") is None


@pytest.mark.parametrize("state", ["LAPSED", "LEFT", "LEAVING", "JOINING"])
def test_a_node_that_is_not_live_takes_nothing_up(world: World, state: str) -> None:
    token = world.confirmed().token
    if state == "LAPSED":
        world.lapse("n1")
    elif state == "LEFT":
        world.leave("n1")
    elif state == "LEAVING":
        nodes.drain(world.installation, TESTER, "n1")
    else:
        nodes.runtime_silent(world.installation, by("n1"))
        nodes.runtime_back(world.installation, by("n1"))
    with world.unchanged():
        assert self_take_over(world.installation, by("n1"), token, "test") is None


def test_nothing_is_taken_up_that_ended(world: World) -> None:
    found = world.confirmed()
    world.end(found)
    with world.unchanged():
        assert self_take_over(world.installation, by("n1"), found.token, "test") is None


# restart


@pytest.mark.parametrize("former", GONE)
def test_lost_work_starts_again_with_new_names(world: World, former: NodeState) -> None:
    old = world.confirmed(post=1)
    world.end(old, result="old")
    number = _gone(world, former)
    assert restart(world.installation, TESTER, old.token, number)
    task = world.task(old.token.task_id)
    assert (task.state, task.node, task.attempt, task.delivery) == (TaskState.PENDING, None, 1, 2)
    assert (task.result, task.sent_at, task.sends, task.held_since) == (None, None, 0, None)
    assert task.crashes == (1 if former is NodeState.LAPSED else 0)
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state) == ("repair", "RUNNING", "PENDING")
    again = claim(world.installation, by(world.live("n2")), task.token)
    assert again is not None and again.order.run.origin == 2
    assert again.order.name != old.order.name
    assert [(link.origin, link.state) for link in world.links(task.id)] == [
        (1, "ENDED"),
        (1, "WAITING"),
        (2, "WAITING"),
        (2, "WAITING"),
    ]


def test_work_that_was_claimed_and_never_begun_starts_again(world: World) -> None:
    old = world.claimed()
    assert restart(world.installation, TESTER, old.token, world.lapse("n1"))
    assert world.task(old.token.task_id).state is TaskState.PENDING
    # The late thread's container is refused: it removes what it made.
    assert not confirm(world.installation, TESTER, old, "c0")


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_starts_again_under_a_wrong_token(world: World, wrong: str) -> None:
    token = world.confirmed().token
    number = world.lapse("n1")
    with world.unchanged():
        assert not restart(world.installation, TESTER, wrong_tokens(token)[wrong], number)


def test_nothing_starts_again_for_another_lapse(world: World) -> None:
    token = world.confirmed().token
    number = world.lapse("n1")
    with world.unchanged():
        assert not restart(world.installation, TESTER, token, number + 1)
        assert not restart(world.installation, TESTER, token, number - 1)


@pytest.mark.parametrize("state", [NodeState.LIVE, NodeState.LEAVING])
def test_nothing_starts_again_while_its_node_beats(world: World, state: NodeState) -> None:
    token = world.confirmed().token
    if state is NodeState.LEAVING:
        nodes.drain(world.installation, TESTER, "n1")
    with world.unchanged():
        for number in (0, 1):
            assert not restart(world.installation, TESTER, token, number)


@pytest.mark.parametrize("crashes", [0, 4])
@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.LIVE])
def test_a_node_that_has_not_looked_blocks_a_restart(world: World, state: NodeState, crashes: int) -> None:
    token = world.confirmed().token
    world.set(token.task_id, crashes=crashes)
    world.in_state("n2", state)
    number = world.lapse("n1")
    with world.unchanged():
        assert not restart(world.installation, TESTER, token, number)
    nodes.looked(world.installation, by("n2"), number - 1)
    assert not restart(world.installation, TESTER, token, number)
    nodes.looked(world.installation, by("n2"), number)
    assert restart(world.installation, TESTER, token, number)


def test_a_deaf_node_blocks_no_restart_until_its_docker_answers_again(world: World) -> None:
    first, second = world.confirmed().token, world.confirmed().token
    world.live("n2")
    number = world.lapse("n1")
    nodes.runtime_silent(world.installation, by("n2"))
    assert restart(world.installation, TESTER, first, number)
    assert nodes.runtime_back(world.installation, by("n2"))
    assert world.node("n2").state is NodeState.JOINING
    with world.unchanged():
        assert not restart(world.installation, TESTER, second, number)


@pytest.mark.parametrize("state", [NodeState.LAPSED, NodeState.LEFT, NodeState.LEAVING])
def test_a_node_that_is_gone_or_leaves_blocks_no_restart(world: World, state: NodeState) -> None:
    token = world.confirmed().token
    world.in_state("n2", state)
    number = world.lapse("n1")
    assert restart(world.installation, TESTER, token, number)


def test_nothing_starts_again_that_was_taken_over(world: World) -> None:
    old = world.confirmed().token
    number = world.lapse("n1")
    new = take_over(world.installation, by(world.live("n2")), old, "found")
    assert new is not None
    with world.unchanged():
        assert not restart(world.installation, TESTER, old, number)
        assert not restart(world.installation, TESTER, new, number)


def test_nothing_starts_again_that_ended(world: World) -> None:
    found = world.confirmed()
    number = world.lapse("n1")
    world.end(found)
    with world.unchanged():
        assert not restart(world.installation, TESTER, found.token, number)


# give_back


def test_work_whose_volume_is_gone_starts_again_without_a_crash(world: World) -> None:
    found = world.confirmed(post=1)
    world.end(found, result="lost with it")
    assert give_back(world.installation, TESTER, found.token, "its volume is gone")
    task = world.task(found.token.task_id)
    assert (task.state, task.node, task.delivery, task.crashes) == (TaskState.PENDING, None, 2, 0)
    assert (task.attempt, task.result) == (1, None)
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state) == ("repair", "RUNNING", "PENDING")


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_is_given_back_under_a_wrong_token(world: World, wrong: str) -> None:
    token = world.confirmed().token
    with world.unchanged():
        assert not give_back(world.installation, TESTER, wrong_tokens(token)[wrong], "test")


def test_nothing_is_given_back_that_does_not_run(world: World) -> None:
    world.live()
    waiting, found = world.scheduled(), world.confirmed()
    world.end(found)
    with world.unchanged():
        assert not give_back(world.installation, TESTER, waiting.token, "test")
        assert not give_back(world.installation, TESTER, found.token, "test")
