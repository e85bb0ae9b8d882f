"""Fixtures that all rings share: a database of each kind, and the settings that point to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from engine.store.database import Database
from tests.support.databases import KINDS, Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A throwaway PostgreSQL, started when the first test asks."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database; a test that uses it runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ferryman.db"
    return str(request.getfixturevalue("postgres_server").new())


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings over the fresh database, with a data directory of the test's own."""
    return Settings.from_env({}, data_dir=str(tmp_path / "data"), database_url=database_url)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The fresh database, open and migrated."""
    database = Database(settings)
    database.open()
    yield database
    database.close()
