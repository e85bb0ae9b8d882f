"""Real workers: the fixtures of tests.support.fleets."""

from tests.support.fleets import fleet, redis_server, sqlite_fleet

__all__ = ["fleet", "redis_server", "sqlite_fleet"]
