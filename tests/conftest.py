"""Fixtures for all tests: a database of each kind, and settings for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from engine.settings import Settings
from engine.store.database import Database
from tests.support.databases import KINDS, Postgres, migrate, running_postgres
from tests.support.order import dealt

# Time proves nothing on a machine that does other work too.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("suite")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each process of `-n` its share of the long tests first."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = dealt(items, processes, lambda item: item.nodeid)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Run a temporary PostgreSQL, started for the first test that needs it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with all tables; tests copy it, because migrations are slow."""
    path = tmp_path_factory.mktemp("sqlite") / "ferryman.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """Return the URL of a new SQLite file."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'ferryman.db')}"


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database; the test runs once on each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("postgres_server").cleared())


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Return settings for the new database, with a data directory for this test."""
    return Settings.from_env({}, data_dir=str(tmp_path / "data"), database_url=database_url)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """Open the new database."""
    database = Database(settings.store)
    database.open()
    yield database
    database.close()
