"""Fixtures with real workers, from tests.support.fleet_fixtures."""

from tests.support.fleet_fixtures import fleet, redis_server, sqlite_fleet

__all__ = ["fleet", "redis_server", "sqlite_fleet"]
