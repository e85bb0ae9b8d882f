"""Fixtures: a real Redis per module, emptied for each test, and an installation on a SQLite file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.settings import Settings
from engine.store.database import Database
from tests.support.redis_server import RedisServer
from tests.support.verb_world import World


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Yield a server for the tests of one file."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.signal(signal.SIGCONT)
    server.stop()


@pytest.fixture
def broker(server: RedisServer) -> Iterator[Any]:
    """Empty the server and return a client of it."""
    client = server.client
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def world(server: RedisServer, broker: Any, tmp_path: Path) -> Iterator[World]:
    """Yield an empty installation that sends to the server."""
    settings = Settings.from_env(
        {}, data_dir=str(tmp_path / "data"), broker_url=server.url, broker_prefix="t:"
    )
    db = Database(settings.store)
    yield World(db, settings, db.open())
    db.close()
