"""Races of cancel and time-out with every verb that may come at the same moment: one end, no open link, no revival."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import pytest

from engine.jobspec.task import Retry
from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.cancel import AlreadyEnded, cancel, cancel_job
from engine.lifecycle.claim import begin_link, claim
from engine.lifecycle.confirm import confirm
from engine.lifecycle.resend import resend
from engine.lifecycle.restart import give_back, restart
from engine.lifecycle.take_over import self_take_over, take_over
from engine.lifecycle.timeout import timeout
from engine.model.records import Token
from engine.model.states import JobState, LinkState, TaskState
from engine.settings import Settings
from engine.store import outbox
from engine.store.database import Database
from tests.support.callers import TESTER, by
from tests.support.databases import Postgres
from tests.support.races import SECONDS, Held, at_once, waits_for_a_lock
from tests.support.verb_world import World

CANCELLED, COMPLETED, FAILED = TaskState.CANCELLED, TaskState.COMPLETED, TaskState.FAILED
AGAIN = Retry(limit=1)
_numbers = count()


@dataclass(frozen=True)
class Race:
    """Task and the verb that races with its cancel; the end that the verb gives the task if it comes first."""

    task_id: str
    rival: Callable[[], Any]
    other_end: TaskState | None = None


def _node(world: World) -> str:
    return world.live(f"n{next(_numbers)}")


def _claim(world: World) -> Race:
    task = world.scheduled()
    return Race(task.id, partial(claim, world.installation, by(_node(world)), task.token))


def _claim_of_what_is_not_marked(world: World) -> Race:
    task = world.submitted()
    return Race(task.id, partial(claim, world.installation, by(_node(world)), task.token))


def _mark(world: World) -> Race:
    task = world.submitted()

    def mark() -> bool:
        with world.db.begin() as c:
            return bool(outbox.mark_sent(c, [task]))

    return Race(task.id, mark)


def _resend(world: World) -> Race:
    task = world.scheduled()
    return Race(task.id, partial(resend, world.installation, TESTER, [task], "test"))


def _confirm(world: World) -> Race:
    found = world.claimed(_node(world), pre=1)
    return Race(found.token.task_id, partial(confirm, world.installation, TESTER, found, "c0"))


def _end(world: World) -> Race:
    found = world.confirmed(_node(world))
    return Race(found.token.task_id, partial(world.end, found), COMPLETED)


def _bad_end(world: World) -> Race:
    found = world.confirmed(_node(world))
    return Race(found.token.task_id, partial(world.end, found, 1), FAILED)


def _end_of_a_pre(world: World) -> Race:
    found = world.confirmed(_node(world), pre=1)
    return Race(found.token.task_id, partial(world.end, found))


def _retry(world: World) -> Race:
    found = world.confirmed(_node(world), retry=AGAIN)
    return Race(found.token.task_id, partial(world.end, found, 1))


def _take_over(world: World) -> Race:
    found, taker = world.confirmed(dead := _node(world)), _node(world)
    world.lapse(dead)
    return Race(found.token.task_id, partial(take_over, world.installation, by(taker), found.token, "found"))


def _last_crash(world: World) -> Race:
    found, taker = world.confirmed(dead := _node(world)), _node(world)
    world.lapse(dead)
    world.set(found.token.task_id, crashes=world.installation.settings.cluster.max_crashes - 1)
    return Race(
        found.token.task_id, partial(take_over, world.installation, by(taker), found.token, "found"), FAILED
    )


def _self_take_over(world: World) -> Race:
    found = world.confirmed(mine := _node(world))
    return Race(
        found.token.task_id, partial(self_take_over, world.installation, by(mine), found.token, "test")
    )


def _restart(world: World) -> Race:
    found = world.confirmed(dead := _node(world))
    number = world.lapse(dead)
    return Race(found.token.task_id, partial(restart, world.installation, TESTER, found.token, number))


def _give_back(world: World) -> Race:
    found = world.confirmed(_node(world))
    return Race(found.token.task_id, partial(give_back, world.installation, TESTER, found.token, "test"))


def _overdue(world: World, **fields: Any) -> Token:
    token = world.confirmed(dead := _node(world), timeout="10s", **fields).token
    world.set_attempt(token.task_id, started_at=world.now - 10_000)
    world.lapse(dead)
    return token


def _timeout(world: World) -> Race:
    token = _overdue(world)
    return Race(token.task_id, partial(timeout, world.installation, TESTER, token), FAILED)


def _timeout_and_retry(world: World) -> Race:
    token = _overdue(world, retry=AGAIN)
    return Race(token.task_id, partial(timeout, world.installation, TESTER, token))


RIVALS = [
    _claim,
    _claim_of_what_is_not_marked,
    _mark,
    _resend,
    _confirm,
    _end,
    _bad_end,
    _end_of_a_pre,
    _retry,
    _take_over,
    _last_crash,
    _self_take_over,
    _restart,
    _give_back,
    _timeout,
    _timeout_and_retry,
]
rivals = pytest.mark.parametrize("arrange", RIVALS, ids=lambda arrange: arrange.__name__.strip("_"))


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture(scope="module")
def postgresql(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("races")
    settings = Settings.from_env({}, data_dir=str(directory), database_url=postgres_server.new())
    db = Database(settings.store)
    yield World(db, settings, db.open())
    db.close()


@pytest.fixture
def pg(postgresql: World) -> World:
    """Return an empty installation on PostgreSQL, where a verb waits for the locks of another."""
    postgresql.wipe()
    return postgresql


def _cancelled(world: World, task_id: str) -> tuple[str, ...] | None:
    """Cancel the task; return None when it has ended otherwise."""
    try:
        return cancel(world.installation, TESTER, task_id)
    except AlreadyEnded:
        return None


def _assert_closed(world: World, race: Race, state: TaskState) -> None:
    """Assert that the task ended once, in `state`, with its job, that no link is open and no attempt continues."""
    task = world.task(race.task_id)
    assert task.state is state and task.ended_at
    assert world.job_of(task.id).state is JobState(state)
    ends = [e for e in world.events(task.id) if e.kind == "task" and TaskState(e.to_state or "").ended]
    assert [e.to_state for e in ends] == [state]
    run = [link for link in world.links(task.id) if link.run == task.run]
    assert {link.state for link in run} <= {LinkState.ENDED, LinkState.SKIPPED}
    assert all(attempt.ended_at for attempt in world.attempts(task.id))


def _assert_nothing_revives(world: World, task_id: str) -> None:
    """Assert that no verb changes the task any more, under its own token or an older one."""
    task, fresh, number = world.task(task_id), _node(world), world.last_lapse
    with world.unchanged():
        for token in {task.token, Token(task.id, 1, 1)}:
            assert claim(world.installation, by(fresh), token) is None
            assert begin_link(world.installation, by(task.node or fresh), token, 0) is None
            assert take_over(world.installation, by(fresh), token, "test") is None
            assert self_take_over(world.installation, by(task.node or fresh), token, "test") is None
            assert not timeout(world.installation, TESTER, token)
            assert not restart(world.installation, TESTER, token, number)
            assert not give_back(world.installation, TESTER, token, "test")
        assert resend(world.installation, TESTER, [task], "test") == 0


def _assert_one_won(world: World, race: Race, said: tuple[str, ...] | None) -> None:
    if said is None:
        assert race.other_end is not None, "what may still run can be cancelled"
        _assert_closed(world, race, race.other_end)
    else:
        assert said == (race.task_id,)
        _assert_closed(world, race, CANCELLED)


@rivals
def test_a_cancel_at_the_same_moment_leaves_one_end(
    world: World, pool: ThreadPoolExecutor, arrange: Callable[[World], Race]
) -> None:
    for _ in range(2):
        world.wipe()
        race = arrange(world)
        said, _ = at_once(pool, partial(_cancelled, world, race.task_id), race.rival)
        _assert_one_won(world, race, said)
    _assert_nothing_revives(world, race.task_id)


@rivals
def test_what_comes_while_a_cancel_commits_waits_and_changes_nothing(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, arrange: Callable[[World], Race]
) -> None:
    race = arrange(pg)
    cancelling = Held(monkeypatch, pool, partial(cancel, pg.installation, TESTER, race.task_id))
    rival = pool.submit(race.rival)
    waits_for_a_lock(pg)
    assert not rival.done()
    assert cancelling.release() == (race.task_id,)
    assert not rival.result(SECONDS), "refused"
    _assert_closed(pg, race, CANCELLED)


@pytest.mark.parametrize(
    "arrange",
    # The mark alone writes its event outside the verb: in the flusher.
    [arrange for arrange in RIVALS if arrange is not _mark],
    ids=lambda arrange: arrange.__name__.strip("_"),
)
def test_a_cancel_that_comes_while_another_verb_commits_waits_and_meets_what_it_left(
    pg: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, arrange: Callable[[World], Race]
) -> None:
    race = arrange(pg)
    rival = Held(monkeypatch, pool, race.rival)
    cancelling = pool.submit(_cancelled, pg, race.task_id)
    waits_for_a_lock(pg)
    assert not cancelling.done()
    rival.release()
    said = cancelling.result(SECONDS)
    assert (said is None) == (race.other_end is not None)
    _assert_one_won(pg, race, said)


def test_of_many_cancels_at_once_one_counts(world: World, pool: ThreadPoolExecutor) -> None:
    task = world.task(world.confirmed(_node(world), pre=1).token.task_id)
    one, whole = (
        partial(cancel, world.installation, TESTER, task.id),
        partial(cancel_job, world.installation, TESTER, task.job_id),
    )
    said = at_once(pool, one, whole, one, whole)
    assert sorted(said) == [(), (), (), (task.id,)]
    _assert_closed(world, Race(task.id, one), CANCELLED)


def test_of_a_time_out_and_a_take_over_at_once_one_wins(world: World, pool: ThreadPoolExecutor) -> None:
    for _ in range(4):
        world.wipe()
        token, taker = _overdue(world), _node(world)
        # It has looked: else the time-out would wait for it.
        node_verbs.looked(world.installation, by(taker), world.last_lapse)
        ended, taken = at_once(
            pool,
            partial(timeout, world.installation, TESTER, token),
            partial(take_over, world.installation, by(taker), token, "found"),
        )
        assert ended == (taken is None)
        assert world.task(token.task_id).state is (FAILED if ended else TaskState.RUNNING)


def test_of_time_outs_a_restart_and_a_late_end_at_once_one_wins(
    world: World, pool: ThreadPoolExecutor
) -> None:
    for _ in range(4):
        world.wipe()
        found = world.confirmed(dead := _node(world), timeout="10s", retry=AGAIN)
        world.set_attempt(found.token.task_id, started_at=world.now - 10_000)
        number = world.lapse(dead)
        late = partial(timeout, world.installation, TESTER, found.token)
        again = partial(restart, world.installation, TESTER, found.token, number)
        said = at_once(pool, late, again, partial(world.end, found), late)
        assert sum(map(bool, said)) == 1, said
        task = world.task(found.token.task_id)
        expected = (
            (TaskState.PENDING, 1) if said[1] else (COMPLETED, 1) if said[2] else (TaskState.PENDING, 2)
        )
        assert (task.state, task.attempt) == expected
