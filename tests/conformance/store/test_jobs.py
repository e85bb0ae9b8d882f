"""Jobs: transitions by compare-and-set, search with exact totals, shortened ids."""

from __future__ import annotations

import pytest

from engine.errors import Ambiguous, NotFound
from engine.model.records import Job
from engine.model.states import JobState
from engine.model.tree import Course
from engine.store import jobs, tables
from engine.store.database import Database
from tests.support.task_rows import submitted

ENDED = [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED]


def _insert(
    db: Database, id: str, name: str = "a job", *, at: int = 1, tags: tuple[str, ...] = (), about: str = ""
) -> None:
    """Insert a job created at that moment; the store itself takes the database's clock."""
    with db.begin() as c:
        assert jobs.insert(c, Job(id, name, about or None, tags)) > 1_700_000_000_000
        c.execute(tables.jobs.update().where(tables.jobs.c.id == id).values(created_at=at))


def _get(db: Database, id: str) -> Job:
    with db.read() as c:
        found = jobs.get(c, id)
    assert found is not None
    return found


def _found(db: Database, q: str = "", state: JobState | None = None) -> list[str]:
    with db.read() as c:
        found, total = jobs.page(c, 1, 50, q, (state,) if state else ())
    assert total == len(found)
    return [job.id for job in found]


def test_a_new_job_is_as_it_was_given(db: Database) -> None:
    _insert(db, "a" * 32, "name", at=77, tags=("x", "y"), about="more")
    assert _get(db, "a" * 32) == Job(
        id="a" * 32, name="name", description="more", state=JobState.PENDING, tags=("x", "y"),
        created_at=77, started_at=None, ended_at=None, result=None, error=None,
    )  # fmt: skip


def test_an_unknown_job_is_none(db: Database) -> None:
    with db.begin() as c:
        assert jobs.get(c, "a" * 32) is None
        assert jobs.lock(c, "a" * 32) is None


def test_a_job_starts_once(db: Database) -> None:
    _insert(db, "a" * 32)
    with db.begin() as c:
        assert jobs.start(c, "a" * 32)
        assert not jobs.start(c, "a" * 32)
    job = _get(db, "a" * 32)
    assert job.state is JobState.RUNNING
    assert job.started_at is not None


@pytest.mark.parametrize("state", ENDED)
@pytest.mark.parametrize("started", [True, False])
def test_nothing_leaves_an_ended_state(db: Database, state: JobState, started: bool) -> None:
    _insert(db, "a" * 32)
    with db.begin() as c:
        if started:
            jobs.start(c, "a" * 32)
        assert jobs.end(c, Course("a" * 32, state, error="error"), "result")
        assert not any(jobs.end(c, Course("a" * 32, other, error="late"), "late") for other in ENDED)
        assert not jobs.start(c, "a" * 32)
    job = _get(db, "a" * 32)
    assert (job.state, job.result, job.error) == (state, "result", "error")
    assert job.ended_at is not None


def test_pages_are_newest_first_and_totals_exact(db: Database) -> None:
    for number in range(7):
        _insert(db, f"{number}" * 32, at=number)
    with db.read() as c:
        first, total = jobs.page(c, 1, 3)
        last, same = jobs.page(c, 3, 3)
        beyond, again = jobs.page(c, 9, 3)
    assert [job.created_at for job in first] == [6, 5, 4]
    assert [job.created_at for job in last] == [0]
    assert beyond == []
    assert (total, same, again) == (7, 7, 7)


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        ("", {"a", "b", "c"}),
        ("video", {"a"}),
        ("VIDEO", {"a"}),
        ("convert night", {"a"}),
        ("night", {"a", "b"}),
        ("tag:nightly", {"b", "c"}),
        ("tag:nightly back", {"b"}),
        ("tag:night", set()),
        ("tag:", set()),
        ("100%", {"c"}),
        ("%", {"c"}),
        ("_", {"c"}),
        ("\\", {"c"}),
        ("/", set()),
        ("'", {"c"}),
        ("' OR 1=1 --", set()),
        ("ünïcode", {"c"}),
        ("nowhere", set()),
    ],
)
def test_a_search_finds_what_holds_every_word(db: Database, q: str, wanted: set[str]) -> None:
    _insert(db, "a" * 32, "Convert a video", about="each night", tags=("media",))
    _insert(db, "b" * 32, "Backup", about="of the night", tags=("nightly", "disk"))
    _insert(db, "c" * 32, r"100% of snake_case, c:\ and o'clock, ünïcode", tags=("nightly", "it's"))
    assert {id[0] for id in _found(db, q)} == wanted


def test_a_tag_with_a_quote_is_found(db: Database) -> None:
    _insert(db, "c" * 32, tags=("it's",))
    assert _found(db, "tag:it's") == ["c" * 32]


def test_a_search_can_ask_for_a_state(db: Database) -> None:
    _insert(db, "a" * 32)
    _insert(db, "b" * 32)
    with db.begin() as c:
        jobs.end(c, Course("b" * 32, JobState.FAILED))
    assert _found(db, state=JobState.FAILED) == ["b" * 32]
    assert _found(db, state=JobState.PENDING) == ["a" * 32]


def test_an_id_of_a_task_or_its_job_means_both_shortened_or_not(db: Database) -> None:
    task = submitted(db)
    with db.read() as c:
        for id in (task.id, task.id[:9], task.id.upper(), task.job_id, task.job_id[:9]):
            assert jobs.resolve(c, id) == jobs.Ids(task.job_id, task.id)


def test_an_id_that_fits_two_is_ambiguous_until_more_of_it_is_written(db: Database) -> None:
    _insert(db, "abcd0" + "0" * 27)
    _insert(db, "abcd1" + "1" * 27)
    with db.read() as c:
        with pytest.raises(Ambiguous):
            jobs.resolve(c, "abcd")
        assert jobs.resolve(c, "abcd1").job_id == "abcd1" + "1" * 27


@pytest.mark.parametrize(
    "id",
    [
        "",
        "abc",
        "f" * 32,
        "f" * 33,
        "g" * 32,
        "' OR 1=1 --",
        "%",
        "abcd%",
        "../x",
        "\x00abcd",
        "ａｂｃｄ",
        "x" * 5000,
    ],
)
def test_what_is_no_id_is_not_found(db: Database, id: str) -> None:
    _insert(db, "abcd" * 8)
    with db.read() as c, pytest.raises(NotFound):
        jobs.resolve(c, id)
