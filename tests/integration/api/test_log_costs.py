"""Cost of reading long logs: a page reads few chunks, and a search lets other requests compute in between."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.context import ApiContext
from api.turns import MOST, Turns
from engine.model.records import LogPosition
from engine.store import logs
from tests.support.task_rows import running
from tests.support.waiting import wait_until

CHUNKS = 64


@pytest.fixture
def long_log(context: ApiContext) -> str:
    """Return the id of a task with a log of many large chunks."""
    task = running(context.installation.db)
    line = (1, "2026-01-02T03:04:05.123456789Z", "x" * 20 + "\n")
    for number in range(CHUNKS):
        with context.installation.db.begin() as c:
            piece = logs.piece([line] * 5000)
            bounds = logs.Bounds(1 << 30, 1000)
            assert logs.append(c, task.token, task.origin, 0, [piece], LogPosition(), bounds, number)
    return task.id


@pytest.mark.parametrize("query", ["", "?page=3100", "?tail=100"])
def test_a_page_reads_few_chunks(
    client: FlaskClient, long_log: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    as_chunk = logs.as_chunk
    monkeypatch.setattr(logs, "as_chunk", lambda row: read.append(row.seq) or as_chunk(row))
    monkeypatch.setattr("engine.store.log_lines.as_chunk", logs.as_chunk)
    assert client.get(f"/tasks/{long_log}/log{query}").status_code == 200
    assert len(read) <= 3


def test_searches_of_long_logs_let_other_requests_compute(app: Flask, long_log: str) -> None:
    totals = []

    def search() -> None:
        answer = app.test_client().get(f"/tasks/{long_log}/log?q=y").json or {}
        totals.append(answer.get("totalItems"))

    searches = [threading.Thread(target=search) for _ in range(4)]
    assert (
        app.test_client().get("/nodes").status_code == 200
    )  # with a connection to the database from here on
    for thread in searches:
        thread.start()
    assert app.test_client().get("/nodes").status_code == 200
    assert all(thread.is_alive() for thread in searches), "the searches took all turns to their end"
    for thread in searches:
        thread.join(60)
    assert totals == [0] * 4


def test_a_turn_that_is_given_back_goes_to_the_request_that_has_waited_longest() -> None:
    turns, order = Turns(), list[int]()
    for _ in range(MOST):
        turns.take()

    def wait(number: int) -> None:
        turns.take()
        order.append(number)

    waiters = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for number, waiter in enumerate(waiters, 1):
        waiter.start()
        wait_until(lambda number=number: len(turns._waiting) == number, 5)
    for number, waiter in enumerate(waiters, 1):
        turns.give_back()
        waiter.join(5)
        assert order == list(range(number))
    for _ in range(MOST):
        turns.give_back()
    assert turns._free == MOST
