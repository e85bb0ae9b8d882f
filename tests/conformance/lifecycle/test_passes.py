"""Passes of the reconciler, with a clock that the test moves: beats, graces, time-outs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from engine.lifecycle import nodes
from engine.lifecycle.take_over import take_over
from engine.model.states import NodeState, TaskState
from engine.reconcile import lapses, restarts
from engine.reconcile.timeouts import Timeouts
from tests.support.callers import TESTER, by
from tests.support.verb_world import World


class Clock:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in (lapses, restarts):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


def _looks(watch: lapses.Lapses, clock: Clock, seconds: float) -> int:
    """Look once per second; return how many nodes were ended."""
    ended = 0
    for _ in range(round(seconds)):
        clock.now += 1
        ended += watch.run()
    return ended


def test_a_node_whose_beat_stands_still_for_the_lease_is_ended(world: World, clock: Clock) -> None:
    world.live()
    watch = lapses.Lapses(world.installation, TESTER)
    watch.run()
    assert _looks(watch, clock, 4) == 0
    assert _looks(watch, clock, 1) == 1
    assert world.node("n1").state is NodeState.LAPSED
    assert _looks(watch, clock, 10) == 0


def test_a_node_that_beats_is_left_alone(world: World, clock: Clock) -> None:
    world.live()
    watch = lapses.Lapses(world.installation, TESTER)
    for _ in range(5):
        assert _looks(watch, clock, 4) == 0
        nodes.beat(world.installation, by("n1"), [])
    assert world.node("n1").state is NodeState.LIVE


def test_a_gap_in_ones_own_reads_proves_nothing_about_others(world: World, clock: Clock) -> None:
    world.live()
    watch = lapses.Lapses(world.installation, TESTER)
    watch.run()
    clock.now += 60
    assert watch.run() == 0
    assert _looks(watch, clock, 4) == 0
    assert _looks(watch, clock, 1) == 1


def test_a_new_watcher_waits_the_whole_lease(world: World, clock: Clock) -> None:
    world.live()
    _looks(lapses.Lapses(world.installation, TESTER), clock, 4)
    assert _looks(lapses.Lapses(world.installation, TESTER), clock, 5) == 0


def test_lost_work_starts_again_after_its_grace_and_not_before(world: World, clock: Clock) -> None:
    token = world.confirmed().token
    world.lapse("n1")
    again = restarts.Restarts(world.installation, TESTER)
    assert again.run() == 0
    clock.now += 14.9
    assert again.run() == 0
    clock.now += 0.2
    assert again.run() == 1
    assert world.task(token.task_id).state is TaskState.PENDING
    assert again.run() == 0


def test_the_grace_of_long_work_is_a_tenth_of_its_age(world: World, clock: Clock) -> None:
    token = world.confirmed().token
    world.set_attempt(token.task_id, started_at=world.now - 1_000_000)
    world.lapse("n1")
    again = restarts.Restarts(world.installation, TESTER)
    again.run()
    clock.now += 90
    assert again.run() == 0
    clock.now += 15
    assert again.run() == 1


def test_work_of_a_node_that_left_waits_for_its_daemon_longer(world: World, clock: Clock) -> None:
    world.confirmed()
    world.leave("n1")
    again = restarts.Restarts(world.installation, TESTER)
    again.run()
    clock.now += 299
    assert again.run() == 0
    clock.now += 2
    assert again.run() == 1


def test_what_was_taken_over_and_lost_again_has_its_whole_grace_anew(world: World, clock: Clock) -> None:
    token = world.confirmed().token
    world.lapse("n1")
    again = restarts.Restarts(world.installation, TESTER)
    again.run()
    clock.now += 14
    assert take_over(world.installation, by(world.live("n2")), token, "found") is not None
    world.lapse("n2")
    clock.now += 2
    assert again.run() == 0
    clock.now += 16
    assert again.run() == 1


def test_an_attempt_past_its_time_ends_once_its_node_is_gone(world: World) -> None:
    token = world.confirmed(timeout="10s").token
    world.set_attempt(token.task_id, started_at=world.now - 20_000)
    late = Timeouts(world.installation, TESTER)
    assert late.run() == 0
    world.lapse("n1")
    assert late.run() == 1
    assert late.run() == 0
    assert world.task(token.task_id).state is TaskState.FAILED
