"""Events: every one once, in commit order, whatever the database numbers them by."""

from __future__ import annotations

import pytest

from engine.settings import StoreSettings
from engine.store import events
from engine.store.database import Database
from engine.store.events import UnknownCursor
from tests.support.callers import TESTER
from tests.support.databases import Postgres
from tests.support.task_rows import submitted


def _noted(db: Database, *reasons: str, job_id: str | None = None) -> None:
    with db.begin() as c:
        for reason in reasons:
            events.add(c, TESTER, "note", job_id=job_id, reason=reason)


def _reasons(db: Database, cursor: str | None = None, **wanted: str) -> list[str | None]:
    with db.read() as c:
        return [event.reason for event in events.after(c, cursor, **wanted)]


def test_events_come_in_the_order_in_which_they_were_added(db: Database) -> None:
    _noted(db, "one", "two")
    _noted(db, "three")
    assert _reasons(db) == ["one", "two", "three"]


def test_a_reader_goes_on_after_its_cursor_without_a_gap_or_a_double(db: Database) -> None:
    _noted(db, *"abcdefg")
    seen, cursor = [], None
    while True:
        with db.read() as c:
            batch = events.after(c, cursor, limit=2)
        if not batch:
            break
        seen += [event.reason for event in batch]
        cursor = batch[-1].cursor
    assert seen == [*"abcdefg"]


def test_what_is_rolled_back_never_happened(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.begin() as c:
        events.add(c, TESTER, "note", reason="lost")
        raise ZeroDivisionError
    _noted(db, "kept")
    assert _reasons(db) == ["kept"]


def test_events_of_one_task_and_one_job_are_told_apart(db: Database) -> None:
    one, other = submitted(db), submitted(db)
    with db.read() as c:
        of_task = events.after(c, None, task_id=one.id)
        of_job = events.after(c, None, job_id=other.job_id)
    assert {event.task_id for event in of_task} == {one.id}
    assert {event.job_id for event in of_job} == {other.job_id}


def test_an_event_bears_the_token_of_its_task(db: Database) -> None:
    task = submitted(db)
    with db.begin() as c:
        events.add(
            c, TESTER, "task", task, from_state="PENDING", to_state="RUNNING", node="n1", reason="claimed"
        )
    with db.read() as c:
        last = events.after(c, None, task_id=task.id)[-1]
    assert (last.attempt, last.delivery, last.from_state, last.to_state, last.node, last.reason) == (
        1, 1, "PENDING", "RUNNING", "n1", "claimed",
    )  # fmt: skip


def test_the_latest_cursor_lies_behind_all_that_happened(db: Database) -> None:
    with db.read() as c:
        empty = events.latest(c)
    _noted(db, "one")
    with db.read() as c:
        assert [event.reason for event in events.after(c, empty)] == ["one"]
        assert events.after(c, events.latest(c)) == []
        assert events.is_later(c, events.latest(c), empty)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "0x10", "9" * 30, "1-2-3", "1 OR 1=1", "１", "\x00"])
def test_what_is_no_cursor_is_refused(db: Database, text: str) -> None:
    with db.read() as c, pytest.raises(UnknownCursor):
        events.after(c, text)


def test_a_cursor_of_the_other_kind_of_database_is_refused(db: Database) -> None:
    foreign = "1-1" if db.is_sqlite else "1"
    with db.read() as c, pytest.raises(UnknownCursor):
        events.after(c, foreign)


def test_an_earlier_number_that_commits_later_is_not_skipped(postgres_server: Postgres) -> None:
    settings = StoreSettings(database_url=postgres_server.new())
    slow, quick, reader = (Database(settings) for _ in range(3))
    slow.open()
    with slow.begin() as held:
        events.add(held, TESTER, "note", reason="first number, second commit")
        _noted(quick, "second number, first commit")
        with reader.read() as c:
            early = events.after(c, None)
            cursor = events.latest(c)
        # The slow one is not there yet, so neither may be what would put the cursor past it.
        assert early == []
    assert _reasons(reader, cursor) == ["first number, second commit", "second number, first commit"]
    for database in (slow, quick, reader):
        database.close()


def test_the_last_event_of_what_has_ended_does_not_wait_for_others(postgres_server: Postgres) -> None:
    settings = StoreSettings(database_url=postgres_server.new())
    slow, quick = Database(settings), Database(settings)
    slow.open()
    with slow.begin() as held:
        events.add(held, TESTER, "note", reason="open")
        _noted(quick, "ended", job_id="j")
        with quick.read() as c:
            assert events.after(c, None, job_id="j") == []
            assert [event.reason for event in events.after(c, None, job_id="j", settled=True)] == ["ended"]
    slow.close()
    quick.close()
