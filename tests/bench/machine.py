"""Description of the machine: a figure means nothing without one."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.support.docker_daemon import require_docker
from tests.support.redis_server import RedisServer

_PACKAGES = ("celery", "kombu", "redis", "SQLAlchemy", "flask", "gunicorn", "docker")


def about(redis: RedisServer, database_url: str) -> dict[str, Any]:
    """Return machine, kernel and the versions of everything involved."""
    docker = require_docker().api.info()
    server: Any = redis.client.info("server")
    return {
        "machine": f"{os.cpu_count()} × {_processor()}, {_memory_gb():.1f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": f"{docker['ServerVersion']}, {docker['Driver']}, {docker['DefaultRuntime']},"
        f" cgroup v{docker.get('CgroupVersion', '1')}, {docker['LoggingDriver']}",
        "redis": f"{server['redis_version']}, append-only file, fsync each second",
        "database": _database(database_url),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def load() -> float:
    """Return the load of the last minute."""
    return os.getloadavg()[0]


def busy() -> float:
    """Return the share of the processors that others use, in a second in which the bench does nothing."""
    before = _ticks()
    time.sleep(1.0)
    total, idle = (now - then for now, then in zip(_ticks(), before, strict=True))
    return 1 - idle / total


def _ticks() -> tuple[int, int]:
    """Return all ticks since boot, and the idle ones among them."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    found = [int(word) for word in line]
    return sum(found), found[3] + found[4]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _database(url: str) -> str:
    if url.startswith("sqlite"):
        return f"SQLite {sqlite3.sqlite_version}, WAL, synchronous NORMAL"
    engine = sa.create_engine(url)
    with engine.connect() as c:
        version, fsync = c.exec_driver_sql("SHOW server_version").scalar(), c.exec_driver_sql("SHOW fsync")
        told = f"PostgreSQL {version}, fsync {fsync.scalar()}"
    engine.dispose()
    return told
