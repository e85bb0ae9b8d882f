"""Fixtures that all rings share: a database of each kind, and the settings that point to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from engine.store.database import Database
from tests.support.databases import KINDS, Postgres, migrate, running_postgres
from tests.support.order import dealt


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each process of `-n` begin with its share of the long tests."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = dealt(items, processes, lambda item: item.nodeid)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A throwaway PostgreSQL, started when the first test asks."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied: migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("sqlite") / "ferryman.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh SQLite file."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'ferryman.db')}"


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database without rows; a test that uses it runs once on each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("postgres_server").cleared())


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings over the fresh database, with a data directory of the test's own."""
    return Settings.from_env({}, data_dir=str(tmp_path / "data"), database_url=database_url)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The fresh database, open and migrated."""
    database = Database(settings.store)
    database.open()
    yield database
    database.close()
