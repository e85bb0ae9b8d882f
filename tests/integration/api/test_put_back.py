"""A database that is put back in time under a serving API: streams begin again, and nothing stands still."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.context import ApiContext
from engine.model.records import LogPosition, Task
from engine.settings import Settings
from engine.store import events, logs
from tests.integration.api.conftest import an_app
from tests.support import log_rows
from tests.support.callers import TESTER
from tests.support.databases import KINDS, running_postgres
from tests.support.streams import Message, messages
from tests.support.task_rows import running
from tests.support.waiting import wait_until

#: Takes a backup and returns the function that restores it.
Backup = Callable[[], Callable[[], None]]


@contextmanager
def _sqlite(tmp_path: Path, url: str) -> Iterator[tuple[str, Backup]]:
    path = sa.engine.make_url(url).database or ""

    def copy(source: Path | str, target: Path | str) -> None:
        # As `sqlite3 FILE ".restore BACKUP"` does, under open connections.
        with sqlite3.connect(source) as from_file, sqlite3.connect(target) as to_file:
            from_file.backup(to_file)
        from_file.close()
        to_file.close()

    def backup() -> Callable[[], None]:
        copy(path, tmp_path / "backup.db")
        return lambda: copy(tmp_path / "backup.db", path)

    yield url, backup


@contextmanager
def _postgresql() -> Iterator[tuple[str, Backup]]:
    with running_postgres() as server:
        data, kept = server.directory / "data", server.directory / "backup"

        def backup() -> Callable[[], None]:
            server.stop()
            subprocess.run(["cp", "-a", data, kept], check=True)
            server.start()

            def restore() -> None:
                server.stop()
                shutil.rmtree(data)
                kept.rename(data)
                server.start()

            return restore

        yield server.url("migrated"), backup


@pytest.fixture(params=KINDS)
def restored(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[FlaskClient, ApiContext, Backup]]:
    """Return a client of an API, its context, and the backup of its database."""
    if request.param == "sqlite":
        made = _sqlite(tmp_path, request.getfixturevalue("sqlite_url"))
    else:
        made = _postgresql()
    with made as (url, backup):
        app = an_app(
            Settings.from_env({}, data_dir=str(tmp_path), database_url=url, store_timeout_seconds=2.0)
        )
        context: ApiContext = app.extensions["ferryman"]
        yield app.test_client(), context, backup
        context.feed.end()
        context.installation.db.close()


def _note(context: ApiContext, task: Task, *reasons: str) -> None:
    for reason in reasons:
        with context.installation.db.begin() as c:
            events.add(c, TESTER, "note", task, reason=reason)


def _write(context: ApiContext, task: Task, *lines: str) -> None:
    for line in lines:
        piece = logs.piece([(1, "2026-01-01T00:00:00.000000000Z", f"{line}\n")])
        with context.installation.db.begin() as c:
            assert log_rows.append(c, task.token, task.origin, 0, [piece], LogPosition(), 1 << 20)


def _open(client: FlaskClient, path: str) -> Iterator[Message]:
    return messages(client.get(path, buffered=False).iter_encoded())


def _until(stream: Iterator[Message], what: str) -> list[Message]:
    seen = []
    for message in stream:
        seen.append(message)
        if what in (message.event, message.data.get("reason")):
            return seen
    raise AssertionError(f"the stream ended before {what}: {seen}")


def _ended_attempts(client: FlaskClient) -> float:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(s.value for f in families for s in f.samples if s.name == "ferryman_attempts_total")


def test_streams_and_metrics_begin_again(restored: tuple[FlaskClient, ApiContext, Backup]) -> None:
    client, context, backup = restored
    task = running(context.installation.db)
    _note(context, task, "kept")
    _write(context, task, "kept")
    restore = backup()
    of_task, of_all = _open(client, f"/events?task={task.id}"), _open(client, "/events")
    of_log = _open(client, f"/tasks/{task.id}/log?follow=true")
    next(of_task)
    _until(of_log, "log")
    later = running(context.installation.db, "later")
    _note(context, task, *(f"lost {n}" for n in range(20)))
    _write(context, task, *(f"lost {n}" for n in range(20)))
    _until(of_all, "lost 19")
    _until(of_task, "lost 19")
    while "lost 19\n" not in str(next(of_log).data.get("frames")).replace("\\n", "\n"):
        pass
    gone = _open(client, f"/events?task={later.id}")
    next(gone)
    _ended_attempts(client)
    restore()
    wait_until(lambda: client.get("/ready").status_code == 200, 30, 0.1)
    assert _ended_attempts(client) == 0
    # The streams notice before or after the first new event.
    _note(context, task, "new")
    _write(context, task, "new")
    assert "reset" in [message.event for message in _until(of_all, "reset")]
    seen = _until(of_task, "new")
    after = seen[[message.event for message in seen].index("reset") :]
    assert after[0].id == "" and [m.data.get("reason") for m in after][-2:] == ["kept", "new"], seen
    _note(context, task, "newer")
    assert _until(of_all, "newer")[-1].data["taskId"] == task.id
    lines = _until(of_log, "reset")
    while "new" not in str((message := next(of_log)).data.get("frames")):
        lines.append(message)
    assert lines[-1].event == "log" and "kept" in str(lines[-1].data["frames"])
    assert [message.event for message in gone][-1] == "reset", "the stream of a lost task ends"
    assert client.get(f"/events?task={later.id}").status_code == 404


def test_a_following_client_goes_on(restored: tuple[FlaskClient, ApiContext, Backup]) -> None:
    client, context, backup = restored
    task = running(context.installation.db)
    restore = backup()
    _note(context, task, *(f"lost {n}" for n in range(5)))
    cursor = _until(_open(client, f"/events?task={task.id}"), "lost 4")[-1].id
    restore()
    wait_until(lambda: client.get("/ready").status_code == 200, 30, 0.1)
    _note(context, task, "new")
    answer = client.get(f"/events?task={task.id}", headers={"Last-Event-ID": str(cursor)}, buffered=False)
    seen = _until(messages(answer.iter_encoded()), "new")
    assert (seen[0].event, seen[0].id) == ("reset", "")
