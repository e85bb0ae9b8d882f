"""Fixtures: the same tests run on an empty installation on SQLite, then on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.settings import Settings
from engine.store.database import Database
from tests.support.databases import KINDS
from tests.support.verb_world import World


@pytest.fixture(scope="package", params=KINDS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a database of each kind, migrated once: to empty it for a test takes milliseconds."""
    directory = tmp_path_factory.mktemp("installation")
    if request.param == "sqlite":
        url = f"sqlite:///{directory}/ferryman.db"
    else:
        url = request.getfixturevalue("postgres_server").new()
    settings = Settings.from_env({}, data_dir=str(directory / "data"), database_url=url)
    db = Database(settings.store)
    world = World(db, settings, db.open())
    yield world
    db.close()


@pytest.fixture
def world(installation: World) -> World:
    """Return an empty installation."""
    installation.wipe()
    return installation
