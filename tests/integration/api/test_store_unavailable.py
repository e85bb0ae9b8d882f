"""Database that does not answer: 503 with Retry-After, nothing stored, no address shown; recovery afterwards."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from engine.errors import StoreUnavailable
from engine.settings import Settings
from tests.integration.api.conftest import HELLO, an_app
from tests.support.databases import Postgres, running_postgres
from tests.support.streams import messages
from tests.support.task_rows import count, running


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server that tests may stop."""
    with running_postgres() as server:
        yield server


def _settings(url: str, tmp_path: Path) -> Settings:
    return Settings.from_env({}, data_dir=str(tmp_path), database_url=url, store_timeout_seconds=1.0)


def _expect_503(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(
        path, method=method, data=HELLO if method == "POST" else None, content_type="text/yaml"
    )
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"].isdigit()
    assert answer.content_type == "application/problem+json"
    assert "127.0.0.1" not in answer.text
    assert "postgres" not in answer.text


def test_a_stopped_postgresql_is_a_503_and_comes_back(own_server: Postgres, tmp_path: Path) -> None:
    settings = _settings(own_server.url("migrated"), tmp_path)
    app = an_app(settings)
    client, context = app.test_client(), app.extensions["ferryman"]
    task = running(context.installation.db)
    stream = messages(client.get(f"/events?task={task.id}", buffered=False).iter_encoded())
    next(stream)
    own_server.stop()
    try:
        for method, path in [
            ("POST", "/task"), ("GET", f"/task/{task.id}"), ("GET", "/jobs"), ("PUT", f"/tasks/{task.id}/cancel"),
            ("GET", f"/tasks/{task.id}/log"), ("GET", f"/events?task={task.id}"), ("GET", "/ready"), ("GET", "/queues"),
        ]:  # fmt: skip
            _expect_503(client, method, path)
        assert client.get("/health").status_code == 200
    finally:
        own_server.start()
    before = count(context.installation.db, "jobs")
    assert client.post("/task", data=HELLO, content_type="text/yaml").status_code == 201
    assert count(context.installation.db, "jobs") == before + 1
    # The open stream continues: the thread that reads events waited for the database.
    assert client.put(f"/tasks/{task.id}/cancel").status_code == 200
    assert [message.data.get("to") for message in stream if message.data.get("kind") == "task"] == [
        "CANCELLED"
    ]
    context.feed.end()
    context.installation.db.close()


def test_a_locked_sqlite_refuses_writes_in_time_and_still_serves_reads(
    sqlite_url: str, tmp_path: Path
) -> None:
    client = an_app(_settings(sqlite_url, tmp_path)).test_client()
    lock = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    _expect_503(client, "POST", "/task")
    assert client.get("/jobs").json["totalItems"] == 0  # type: ignore[index]
    lock.execute("ROLLBACK")
    lock.close()
    assert client.post("/task", data=HELLO, content_type="text/yaml").status_code == 201


def test_a_short_lock_is_waited_for(sqlite_url: str, tmp_path: Path) -> None:
    client = an_app(_settings(sqlite_url, tmp_path)).test_client()
    lock = sqlite3.connect(
        sqlite_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    lock.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: lock.execute("ROLLBACK")).start()
    assert client.post("/task", data=HELLO, content_type="text/yaml").status_code == 201


def test_an_api_whose_database_does_not_answer_does_not_start(tmp_path: Path, own_server: Postgres) -> None:
    settings = replace(_settings(own_server.url("nowhere"), tmp_path))
    with pytest.raises(StoreUnavailable):
        an_app(settings)
