"""Outbox: due tasks, lost messages and waiting tasks are the same on both stores."""

from __future__ import annotations

from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import claim
from engine.lifecycle.restart import restart
from engine.model.records import Task
from engine.store import nodes, outbox, tasks
from tests.support.callers import TESTER, by
from tests.support.verb_world import World


def _sent(world: World, ago_ms: int, sends: int = 1, **fields: object) -> Task:
    task = world.scheduled(**fields)
    world.set(task.id, sent_at=world.now - ago_ms, sends=sends)
    return world.task(task.id)


def test_what_is_due_comes_nine_first_and_the_oldest_first(world: World) -> None:
    made = [world.submitted(priority=priority) for priority in (0, 9, 0, 5)]
    for n, task in enumerate(made):
        world.set(task.id, not_before=world.now - 5_000 + n)
    later = world.submitted()
    world.set(later.id, not_before=world.now + 60_000)
    world.scheduled()
    with world.db.read() as c:
        found = [task.id for task in outbox.due(c, 10)]
        assert found == [made[n].id for n in (1, 3, 0, 2)]
        assert [task.id for task in outbox.due(c, 2)] == found[:2]
        assert [task.id for task in outbox.due(c, 10, older_than_ms=60_000)] == []
        ids = [made[0].id, later.id, "0" * 32]
        assert [task.id for task in outbox.of_ids(c, ids)] == [made[0].id]


def test_the_wait_for_a_lost_message_doubles_up_to_its_bound(world: World) -> None:
    early, first = _sent(world, 4_000), _sent(world, 12_000)
    third_early, third = _sent(world, 30_000, sends=3), _sent(world, 42_000, sends=3)
    bound_early, bound = _sent(world, 500_000, sends=50), _sent(world, 610_000, sends=50)
    with world.db.read() as c:
        found = {task.id for task in outbox.overdue(c, ("default", 0), 10_000, 600_000, 100)}
        assert found == {first.id, third.id, bound.id}
        assert not found & {early.id, third_early.id, bound_early.id}
        assert [task.id for task in outbox.overdue(c, ("default", 0), 10_000, 600_000, 1)] == [bound.id]
        till = third.sent_at
        assert {t.id for t in outbox.overdue(c, ("default", 0), 10_000, 600_000, 9, till)} == {
            bound.id,
            third.id,
        }
        assert outbox.overdue(c, ("default", 5), 10_000, 600_000, 9) == []
        assert outbox.overdue_since(c, 10_000, 600_000) == {("default", 0): bound.sent_at}


def test_the_last_message_that_was_claimed_is_known_by_queue_and_priority(world: World) -> None:
    world.live()
    old, new, other = _sent(world, 9_000), _sent(world, 5_000), _sent(world, 1_000, priority=9)
    for task in (old, new, other):
        assert claim(world.installation, by("n1"), task.token) is not None
    _sent(world, 100)
    with world.db.read() as c:
        found = outbox.last_claimed(c, 600_000)
    assert found == {("default", 0): new.sent_at, ("default", 9): other.sent_at}


def test_all_that_was_sent_is_listed_the_longest_sent_first(world: World) -> None:
    late, early = _sent(world, 1_000), _sent(world, 9_000)
    world.submitted()
    with world.db.read() as c:
        assert [task.id for task in outbox.scheduled(c, 10)] == [early.id, late.id]


def test_a_queues_depth_counts_what_waits_and_runs(world: World) -> None:
    world.confirmed()
    world.submitted()
    world.scheduled(queue="gpu")
    cancelled = world.submitted(queue="gpu")
    cancel(world.installation, TESTER, cancelled.id)
    with world.db.read() as c:
        assert outbox.depth(c) == {"default": {"RUNNING": 1, "PENDING": 1}, "gpu": {"SCHEDULED": 1}}


def test_nodes_that_a_task_names_are_not_forgotten(world: World) -> None:
    token = world.confirmed().token
    number = world.lapse("n1")
    world.live("n2")
    with world.db.begin() as c:
        assert nodes.forget(c, -1_000) == 0, "a row names n1, and n2 beats"
    world.lapse("n2")
    assert restart(world.installation, TESTER, token, number)
    with world.db.begin() as c:
        assert nodes.forget(c, 60_000) == 0, "they were seen a moment ago"
        assert nodes.forget(c, -1_000) == 2


def test_the_nodes_for_people_begin_with_those_that_beat(world: World) -> None:
    for id in ("n1", "n2", "n3"):
        world.live(id)
    world.lapse("n2")
    with world.db.read() as c:
        assert {node.id for node in nodes.recent(c)[:2]} == {"n1", "n3"}
        assert [node.id for node in nodes.recent(c, 1)] != ["n2"]


def test_lost_work_is_told_with_its_nodes_number_and_state(world: World) -> None:
    first, second = world.confirmed("n1").token, world.confirmed("n2").token
    world.confirmed("n3")
    numbers = world.lapse("n1"), world.leave("n2")
    with world.db.read() as c:
        found = {task.id: (number, state) for task, number, state in tasks.lost(c)}
    assert found == {first.task_id: (numbers[0], "LAPSED"), second.task_id: (numbers[1], "LEFT")}
