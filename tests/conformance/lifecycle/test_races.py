"""Races of two verbs: of two that exclude each other one wins, and PostgreSQL's locks give their order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.claim import claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.restart import restart
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.states import LinkState, NodeState, TaskState
from engine.settings import Settings
from engine.store import nodes, tasks
from engine.store.database import Database
from tests.support.callers import TESTER, by
from tests.support.databases import Postgres
from tests.support.races import SECONDS, Held, at_once, waits_for_a_lock
from tests.support.verb_world import World


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def pg(postgres_server: Postgres, tmp_path: Any) -> Iterator[World]:
    """Return an empty installation on PostgreSQL, where verbs of two connections really run at once."""
    settings = Settings.from_env({}, data_dir=str(tmp_path), database_url=postgres_server.new())
    db = Database(settings.store)
    yield World(db, settings, db.open())
    db.close()


def test_of_many_claims_at_once_one_wins(world: World, pool: ThreadPoolExecutor) -> None:
    names = [world.live(f"n{n}") for n in range(4)]
    for _ in range(10):
        task = world.scheduled()
        found = at_once(pool, *(partial(claim, world.installation, by(n), task.token) for n in names))
        winners = [name for name, got in zip(names, found, strict=True) if got is not None]
        assert winners == [world.task(task.id).node]
        assert len(world.links(task.id)) == 1


def test_of_two_finishes_at_once_one_counts_and_the_other_is_late(
    world: World, pool: ThreadPoolExecutor
) -> None:
    for _ in range(5):
        found = world.confirmed()
        said = at_once(pool, partial(world.end, found), partial(world.end, found))
        assert sorted(answer is None for answer in said) == [False, True]
        kinds = [event.kind for event in world.events(found.token.task_id)]
        assert kinds.count("late") == 1
        assert world.task(found.token.task_id).state is TaskState.COMPLETED


def test_of_a_finish_and_a_take_over_at_once_the_order_decides(
    world: World, pool: ThreadPoolExecutor
) -> None:
    world.live("n2")
    for n in range(8):
        found = world.confirmed(world.live(f"old{n}"))
        world.lapse(f"old{n}")
        ended, taken = at_once(
            pool,
            partial(world.end, found),
            partial(take_over, world.installation, by("n2"), found.token, "found"),
        )
        # Finished first: nothing to take over. Taken over first: the end is late.
        assert (ended is None) == (taken is not None)
        assert world.task(found.token.task_id).state is (TaskState.COMPLETED if ended else TaskState.RUNNING)


def test_of_two_lapses_at_once_one_counts(world: World, pool: ThreadPoolExecutor) -> None:
    seen = world.node(world.live())
    assert sorted(at_once(pool, *[lambda: node_verbs.lapse(world.installation, TESTER, seen)] * 3)) == [
        False,
        False,
        True,
    ]
    assert world.last_lapse == 1


def test_of_a_restart_and_a_take_over_at_once_one_wins(world: World, pool: ThreadPoolExecutor) -> None:
    for n in range(8):
        found = world.confirmed(world.live(f"old{n}"))
        number = world.lapse(f"old{n}")
        world.joining(f"new{n}")
        node_verbs.looked(world.installation, by(f"new{n}"), number)
        restarted, taken = at_once(
            pool,
            partial(restart, world.installation, TESTER, found.token, number),
            partial(take_over, world.installation, by(f"new{n}"), found.token, "found"),
        )
        assert restarted == (taken is None)
        assert world.task(found.token.task_id).delivery == 2
        assert node_verbs.become_live(world.installation, by(f"new{n}"), number)


def test_a_confirm_waits_for_a_lapse_and_is_refused(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pg.claimed()
    seen = pg.node("n1")
    lapse = Held(monkeypatch, pool, lambda: node_verbs.lapse(pg.installation, TESTER, seen))
    confirming = pool.submit(confirm, pg.installation, TESTER, found, "c0")
    waits_for_a_lock(pg)
    assert not confirming.done()
    assert lapse.release() is True
    assert confirming.result(SECONDS) is False
    assert pg.links(found.token.task_id)[0].state is LinkState.WAITING


def test_a_lapse_waits_for_a_confirm_so_its_container_is_on_every_list_after(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pg.claimed()
    seen = pg.node("n1")
    confirming = Held(monkeypatch, pool, lambda: confirm(pg.installation, TESTER, found, "c0"))
    lapse = pool.submit(node_verbs.lapse, pg.installation, TESTER, seen)
    waits_for_a_lock(pg)
    # The container exists now; nobody can have read the lapse, so every list after it has the container.
    assert not lapse.done() and pg.last_lapse == 0
    assert confirming.release() is True
    assert lapse.result(SECONDS) is True
    assert pg.links(found.token.task_id)[0].state is LinkState.CONFIRMED


def test_two_nodes_confirm_beside_each_other_without_waiting(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pg.claimed(), pg.claimed()
    held = Held(monkeypatch, pool, lambda: confirm(pg.installation, TESTER, first, "c0"))
    assert confirm(pg.installation, TESTER, second, "c1")
    assert held.release() is True


def test_a_claim_waits_for_a_lapse_and_is_refused(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = pg.node(pg.live())
    task = pg.scheduled()
    lapse = Held(monkeypatch, pool, lambda: node_verbs.lapse(pg.installation, TESTER, seen))
    claiming = pool.submit(claim, pg.installation, by("n1"), task.token)
    waits_for_a_lock(pg)
    assert lapse.release() is True
    assert claiming.result(SECONDS) is None
    assert pg.task(task.id).state is TaskState.SCHEDULED


def test_a_take_over_waits_for_a_lapse_of_the_taker_and_is_refused(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = pg.confirmed().token
    pg.lapse("n1")
    seen = pg.node(pg.live("n2"))
    lapse = Held(monkeypatch, pool, lambda: node_verbs.lapse(pg.installation, TESTER, seen))
    taking = pool.submit(take_over, pg.installation, by("n2"), token, "found")
    waits_for_a_lock(pg)
    assert lapse.release() is True
    assert taking.result(SECONDS) is None
    assert pg.task(token.task_id).node == "n1"


def test_lapse_numbers_are_in_the_order_of_their_commits(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pg.node(pg.live("n1")), pg.node(pg.live("n2"))
    held = Held(monkeypatch, pool, lambda: node_verbs.lapse(pg.installation, TESTER, first))
    later = pool.submit(node_verbs.lapse, pg.installation, TESTER, second)
    waits_for_a_lock(pg)
    # A looker that reads now reads 0, and neither node is on its list: no number hides a lapse.
    with pg.db.read() as c:
        assert nodes.last_lapse(c) == 0
        assert tasks.lost(c) == []
    assert held.release() is True and later.result(SECONDS) is True
    assert (pg.node("n1").lapse_no, pg.node("n2").lapse_no) == (1, 2)


def test_the_beat_of_a_node_that_is_being_ended_waits_and_is_fenced(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = pg.node(pg.live())
    lapse = Held(monkeypatch, pool, lambda: node_verbs.lapse(pg.installation, TESTER, seen))
    beat = pool.submit(node_verbs.beat, pg.installation, by("n1"), [])
    waits_for_a_lock(pg)
    assert lapse.release() is True
    assert beat.result(SECONDS).fenced
    assert pg.node("n1").state is NodeState.LAPSED


def test_two_self_take_overs_at_once_give_one_token(world: World, pool: ThreadPoolExecutor) -> None:
    found = world.confirmed()
    said = at_once(pool, *[lambda: self_take_over(world.installation, by("n1"), found.token, "test")] * 3)
    new = [token for token in said if token is not None]
    assert len(new) == 1
    assert resume(world.installation, by("n1"), new[0]) is not None
