"""Look that calls for passes: it may call in vain, but must miss nothing."""

from __future__ import annotations

from engine.lifecycle import nodes
from engine.store import workload
from tests.support.callers import TESTER, by
from tests.support.verb_world import World


def _look(world: World, due_ms: int = 1000) -> workload.Workload:
    with world.db.read() as c:
        return workload.read(c, due_ms)


def _calls(world: World, node_id: str) -> bool:
    answer = nodes.beat(world.installation, by(node_id), [])
    assert not answer.fenced
    return answer.calls


def test_an_idle_house_calls_nobody(world: World) -> None:
    world.live("n1")
    seen = _look(world)
    assert (seen.lapse_no, seen.lost, seen.scheduled, seen.due) == (0, False, False, False)
    assert set(seen.beats) == {"n1"}
    assert not _calls(world, "n1")


def test_the_beats_are_those_of_the_nodes_that_are_watched(world: World) -> None:
    for id in ("n1", "n2", "n3", "n4"):
        world.live(id)
    nodes.beat(world.installation, by("n2"), [])
    world.lapse("n1")
    world.leave("n4")
    nodes.drain(world.installation, TESTER, "n3")
    beats = _look(world).beats
    assert set(beats) == {"n2", "n3"}
    assert beats["n2"] == beats["n3"] + 1


def test_work_of_a_node_that_ended_is_seen_as_lost(world: World) -> None:
    world.confirmed("n1")
    assert not _look(world).lost
    number = world.lapse("n1")
    seen = _look(world)
    assert seen.lost
    assert seen.lapse_no == number


def test_a_message_that_is_to_be_in_the_broker_is_seen(world: World) -> None:
    task = world.submitted()
    assert not _look(world).scheduled
    world.set(task.id, state="SCHEDULED")
    assert _look(world).scheduled


def test_what_nobody_sent_is_seen_after_its_while(world: World) -> None:
    task = world.submitted()
    assert not _look(world, 60_000).due
    world.set(task.id, not_before=world.now - 61_000)
    assert _look(world, 60_000).due
    world.set(task.id, state="SCHEDULED")
    assert not _look(world, 60_000).due


def test_a_beat_calls_for_a_pass_while_something_runs_or_a_node_ended(world: World) -> None:
    world.live("n1")
    world.live("n2")
    number = world.lapse("n2")
    assert _calls(world, "n1"), "n2 ended, and n1 has not looked since"
    nodes.looked(world.installation, by("n1"), number)
    assert not _calls(world, "n1")
    world.confirmed("n3")
    assert _calls(world, "n1"), "somebody's row may have no thread"
