"""Fixtures with real workers, from tests.support.fleet_fixtures."""

from tests.support.fleet_fixtures import fleet, on_postgres, on_sqlite, redis_server, sqlite_fleet

__all__ = ["fleet", "on_postgres", "on_sqlite", "redis_server", "sqlite_fleet"]
