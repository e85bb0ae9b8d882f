"""join, become_live, beat, looked, lapse, drain, leave, Docker silent and back, hold and release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.lifecycle import nodes
from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import claim
from engine.lifecycle.restart import restart
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.records import Event
from engine.model.states import HoldKind, NodeState, TaskState
from tests.support.callers import TESTER, by
from tests.support.verb_world import World

BEATING = [NodeState.JOINING, NodeState.LIVE, NodeState.LEAVING]
GONE = [NodeState.LAPSED, NodeState.LEFT]


def _last(world: World) -> Event:
    return [event for event in world.events() if event.kind == "node"][-1]


def test_a_node_joins_and_becomes_live(world: World) -> None:
    world.joining("n1")
    node = world.node("n1")
    assert (node.state, node.beat, node.looked, node.lapse_no) == (NodeState.JOINING, 0, 0, None)
    assert (_last(world).from_state, _last(world).to_state) == (None, "JOINING")
    assert nodes.become_live(world.installation, by("n1"), 7)
    node = world.node("n1")
    assert (node.state, node.looked, node.runtime_ok) == (NodeState.LIVE, 7, True)
    assert (_last(world).from_state, _last(world).to_state) == ("JOINING", "LIVE")


@pytest.mark.parametrize("state", [s for s in NodeState if s is not NodeState.JOINING])
def test_only_a_joining_node_becomes_live(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    with world.unchanged():
        assert not nodes.become_live(world.installation, by("n1"), 9)


@pytest.mark.parametrize("state", BEATING)
def test_a_beat_is_counted(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    assert not nodes.beat(world.installation, by("n1"), []).fenced
    assert world.node("n1").beat == 1


@pytest.mark.parametrize("state", GONE)
def test_a_beat_of_a_node_that_is_gone_is_fenced(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    with world.unchanged():
        assert nodes.beat(world.installation, by("n1"), []).fenced


def test_a_beat_brings_back_how_the_tasks_in_hand_stand(world: World) -> None:
    runs, cancelled = world.confirmed(), world.confirmed()
    cancel(world.installation, TESTER, cancelled.token.task_id)
    ids = [runs.token.task_id, cancelled.token.task_id, "0" * 32]
    assert nodes.beat(world.installation, by("n1"), ids).running == {
        ids[0]: (TaskState.RUNNING, 1, 1),
        ids[1]: (TaskState.CANCELLED, 1, 1),
    }


@pytest.mark.parametrize("state", BEATING)
def test_a_node_whose_beat_stands_still_lapses_and_a_leaving_one_has_left(
    world: World, state: NodeState
) -> None:
    world.in_state("n1", state)
    assert world.lapse("n1") == 1
    to = NodeState.LEFT if state is NodeState.LEAVING else NodeState.LAPSED
    assert world.node("n1").state is to
    assert (_last(world).from_state, _last(world).to_state) == (state, to)


def test_a_node_that_beat_meanwhile_does_not_lapse(world: World) -> None:
    seen = world.node(world.live())
    nodes.beat(world.installation, by("n1"), [])
    with world.unchanged():
        assert not nodes.lapse(world.installation, TESTER, seen)
    assert world.last_lapse == 0


@pytest.mark.parametrize("state", GONE)
def test_nothing_leaves_lapsed_and_left(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    seen = world.node("n1")
    with world.unchanged():
        assert not nodes.lapse(world.installation, TESTER, seen)
        assert not nodes.drain(world.installation, TESTER, "n1")
        assert not nodes.leave(world.installation, by("n1"))
        assert not nodes.become_live(world.installation, by("n1"), 9)
        assert not nodes.runtime_back(world.installation, by("n1"))


def test_an_unknown_node_does_not_lapse(world: World) -> None:
    seen = world.node(world.live())
    with world.unchanged():
        assert not nodes.lapse(world.installation, TESTER, replace(seen, id="nobody"))


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.LIVE])
def test_a_node_drains_and_leaves_with_a_number(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    assert nodes.drain(world.installation, TESTER, "n1")
    assert world.node("n1").state is NodeState.LEAVING
    assert (_last(world).from_state, _last(world).to_state) == (state, "LEAVING")
    assert not nodes.drain(world.installation, TESTER, "n1")
    assert nodes.leave(world.installation, by("n1"))
    assert world.node("n1").state is NodeState.LEFT
    assert world.node("n1").lapse_no == world.last_lapse == 1


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.LIVE])
def test_a_node_leaves_only_after_it_drained(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    with world.unchanged():
        assert not nodes.leave(world.installation, by("n1"))


def test_lapses_are_numbered_one_after_another(world: World) -> None:
    for id in ("n1", "n2", "n3"):
        world.live(id)
    assert [world.lapse("n2"), world.leave("n1"), world.lapse("n3")] == [1, 2, 3]
    assert world.last_lapse == 3


def test_looked_never_goes_back(world: World) -> None:
    world.live()
    nodes.looked(world.installation, by("n1"), 5)
    nodes.looked(world.installation, by("n1"), 3)
    assert world.node("n1").looked == 5


def test_a_docker_that_is_back_is_a_join(world: World) -> None:
    world.live()
    nodes.runtime_silent(world.installation, by("n1"))
    assert (world.node("n1").state, world.node("n1").runtime_ok) == (NodeState.LIVE, False)
    assert nodes.runtime_back(world.installation, by("n1"))
    assert (world.node("n1").state, world.node("n1").runtime_ok) == (NodeState.JOINING, True)
    assert (_last(world).from_state, _last(world).to_state) == ("LIVE", "JOINING")


def test_a_docker_that_is_back_does_not_stop_a_node_from_leaving(world: World) -> None:
    world.in_state("n1", NodeState.LEAVING)
    with world.unchanged():
        assert not nodes.runtime_back(world.installation, by("n1"))


# hold, release


@pytest.mark.parametrize("state", BEATING)
def test_a_node_is_held_with_its_reason_and_keeps_its_state(world: World, state: NodeState) -> None:
    world.in_state("n1", state)
    before = world.node("n1")
    assert nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no\n bridge \x1b[31m")
    node = world.node("n1")
    assert [(held.kind, held.reason) for held in node.holds] == [("runtime", "no bridge \\x1b[31m")]
    assert abs(world.now - node.holds[0].since) < 60_000
    assert replace(node, holds=()) == before
    assert not node.serves
    assert (_last(world).node, _last(world).reason) == ("n1", "held (runtime): no bridge \\x1b[31m")


def test_a_node_is_released_when_the_last_kind_is(world: World) -> None:
    world.live()
    assert world.node("n1").serves
    nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no bridge")
    nodes.hold(world.installation, by("n1"), HoldKind.BROKER, "no answer")
    assert nodes.release(world.installation, by("n1"), HoldKind.RUNTIME)
    assert [held.kind for held in world.node("n1").holds] == [HoldKind.BROKER]
    assert not world.node("n1").serves
    assert nodes.release(world.installation, by("n1"), HoldKind.BROKER)
    assert world.node("n1").serves
    reason = _last(world).reason
    assert reason is not None and reason.startswith("released (broker) after ")
    with world.unchanged():
        assert not nodes.release(world.installation, by("n1"), HoldKind.BROKER)


def test_a_kind_that_holds_already_keeps_its_time_and_is_told_once(world: World) -> None:
    world.live()
    nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no bridge")
    first, told = world.node("n1").holds[0], len(world.events())
    assert nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no space")
    assert world.node("n1").holds == (first._replace(reason="no space"),)
    assert len(world.events()) == told


@pytest.mark.parametrize("state", GONE)
def test_a_node_that_has_ended_is_neither_held_nor_released(world: World, state: NodeState) -> None:
    world.live("n1")
    nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no bridge")
    world.lapse("n1") if state is NodeState.LAPSED else world.leave("n1")
    with world.unchanged():
        assert not nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no space")
        assert not nodes.hold(world.installation, by("nobody"), HoldKind.RUNTIME, "no space")
        assert not nodes.release(world.installation, by("n1"), HoldKind.RUNTIME)
        assert not nodes.release(world.installation, by("nobody"), HoldKind.RUNTIME)


def test_no_guard_reads_a_hold(world: World) -> None:
    mine, lost = world.confirmed("n1"), world.confirmed("n2")
    nodes.hold(world.installation, by("n1"), HoldKind.RUNTIME, "no bridge")
    assert self_take_over(world.installation, by("n1"), mine.token, "no thread") is not None
    number = world.lapse("n2")
    with world.unchanged():
        assert not restart(world.installation, TESTER, lost.token, number), "n1 has not looked"
    assert take_over(world.installation, by("n1"), lost.token, "found") is not None
    assert claim(world.installation, by("n1"), world.submitted().token) is not None
