"""Fixtures with a `Fleet` (tests.support.fleet): on both stores, on one store, with short or default times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import KINDS, Postgres
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import DEFAULTS, Fleet, running_fleet
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start one Redis for the test run; each fleet has its own key prefix."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


def store_url(request: pytest.FixtureRequest) -> str:
    """Return a new database of the kind in the fixture's parameter, which several processes may use."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("postgres_server").new())


@pytest.fixture(params=KINDS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """Run a fleet without workers, once on each store."""
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, store_url(request), redis_server) as fleet:
        yield fleet


@pytest.fixture
def sqlite_fleet(sqlite_url: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """Run a fleet without workers on SQLite, for tests that do not depend on the store."""
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, sqlite_url, redis_server) as fleet:
        yield fleet


@pytest.fixture(params=[{}, DEFAULTS], ids=["quick", "production"])
def on_postgres(
    request: pytest.FixtureRequest, postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Fleet]:
    """Run a fleet on PostgreSQL, once with short times and once with the default ones."""
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, postgres_server.new(), redis_server, **request.param) as fleet:
        yield fleet


@pytest.fixture(params=[{}, pytest.param(DEFAULTS, marks=pytest.mark.long)], ids=["quick", "production"])
def on_sqlite(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Fleet]:
    """Run a fleet on SQLite with short times; marked long, also with the default ones."""
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, sqlite_url, redis_server, **request.param) as fleet:
        yield fleet
