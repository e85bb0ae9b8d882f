"""Fixtures of tests with real workers: a Redis for the run, and a fleet on each store or on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import KINDS, Postgres
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import DEFAULTS, Fleet, a_fleet
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the run; each fleet has a key prefix of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


def store_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of the kind that a fixture's parameter names, for several processes."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("postgres_server").new())


@pytest.fixture(params=KINDS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """An installation without workers, once on each store."""
    require_docker(BUSYBOX)
    with a_fleet(tmp_path, store_url(request), redis_server) as made:
        yield made


@pytest.fixture
def sqlite_fleet(sqlite_url: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """An installation without workers, on SQLite: for what no store makes different."""
    require_docker(BUSYBOX)
    with a_fleet(tmp_path, sqlite_url, redis_server) as made:
        yield made


@pytest.fixture(params=[{}, DEFAULTS], ids=["quick", "production"])
def on_postgres(
    request: pytest.FixtureRequest, postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Fleet]:
    """A fleet on PostgreSQL, with short waits and with those that people run with."""
    require_docker(BUSYBOX)
    with a_fleet(tmp_path, postgres_server.new(), redis_server, **request.param) as made:
        yield made


@pytest.fixture(params=[{}, pytest.param(DEFAULTS, marks=pytest.mark.long)], ids=["quick", "production"])
def on_sqlite(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Fleet]:
    """A fleet on SQLite, with short waits; in the long ring also with those that people run with."""
    require_docker(BUSYBOX)
    with a_fleet(tmp_path, sqlite_url, redis_server, **request.param) as made:
        yield made
