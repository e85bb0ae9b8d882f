"""A SQLite file that is damaged under running processes: the worker leaves with 78, the API says so."""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.api_server import running_api
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


def _damage(fleet: Fleet, tables: tuple[str, ...]) -> None:
    """Overwrite the root pages of these tables, then commit something, so that no process trusts its cache."""
    path = Path(sa.engine.make_url(fleet.settings.store.database_url).database or "")
    with sqlite3.connect(path) as own:
        own.execute("SELECT last FROM lapses").fetchall()
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = own.execute("PRAGMA page_size").fetchone()[0]
        pages = [
            own.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
            for name in tables
        ]
        with path.open("r+b") as file:
            for page in pages:
                file.seek((page - 1) * size)
                file.write(b"\xff" * size)
        own.execute("UPDATE lapses SET last = last + 1")
    own.close()


def _refused(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status), ""
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, str(json.load(exc)["detail"])


def test_a_file_that_is_damaged_under_work_ends_workers_with_78_and_is_said_by_the_api(
    sqlite_fleet: Fleet,
) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1")
    with running_api(fleet.settings) as api:
        assert _refused(f"{api.url}/ready")[0] == 200
        _damage(fleet, ("nodes", "tasks"))
        assert worker.process.wait(30) == 78, worker.output()
        lines = worker.output()
        assert (
            "ferryman worker: the database is damaged (database disk image is malformed): stop all" in lines
        )
        assert "Traceback" not in lines, lines
        wait_until(lambda: "the database is damaged" in api.log, 20)
        status, detail = _refused(f"{api.url}/ready")
        assert status == 503 and detail.startswith("the database is damaged"), detail
        assert _refused(f"{api.url}/health")[0] == 200
        assert "Traceback" not in api.log, api.log
