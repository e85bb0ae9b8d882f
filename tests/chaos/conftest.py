"""Real workers: the fixtures of tests.support.fleets."""

from tests.support.fleets import fleet, on_postgres, on_sqlite, redis_server, sqlite_fleet

__all__ = ["fleet", "on_postgres", "on_sqlite", "redis_server", "sqlite_fleet"]
