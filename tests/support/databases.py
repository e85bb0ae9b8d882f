"""Databases for tests: a SQLite file, or a new database on a temporary PostgreSQL, started once in each test run."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from engine.settings import StoreSettings
from engine.store.database import Database
from engine.store.tables import metadata

KINDS = ("sqlite", "postgresql")


@dataclass
class Postgres:
    """Running server; `new` makes a database that is already migrated."""

    port: int
    directory: Path
    #: A further address to listen at, from which urls are made; its /24 may come in.
    host: str = "127.0.0.1"
    _numbers: Iterator[int] = field(default_factory=count)
    _shared: str | None = None

    def url(self, database: str) -> str:
        """Return the URL by which SQLAlchemy finds a database."""
        return f"postgresql+psycopg://postgres@{self.host}:{self.port}/{database}"

    def cleared(self) -> str:
        """Empty the one database that tests of a single process share, and return its URL."""
        if self._shared is None:
            self._shared = self.new()
        # TRUNCATE makes new files for each table and index: ten times as long as this, where rows are few.
        rows = [f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)]
        self.sql(
            "; ".join([*rows, "SELECT setval('events_id_seq', 1, false)"]), make_url(self._shared).database
        )
        return self._shared

    def new(self, *, empty: bool = False) -> str:
        """Create a database for several processes, and return its URL. Its files take seconds to remove."""
        name = f"t{os.getpid()}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {'template1' if empty else 'migrated'}")
        return self.url(name)

    def sql(self, statement: str, database: str | None = None) -> None:
        """Run a statement as the superuser, outside a transaction, or several, separated by ;, inside one."""
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=postgres dbname={database or 'postgres'}"
        with psycopg.connect(where, autocommit=True) as c:
            c.execute(statement)  # type: ignore[arg-type]

    def stop(self) -> None:
        """Stop at once, and cut every connection."""
        _control(self.directory, "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        """Start on the same port with the same data."""
        addresses = ",".join({"127.0.0.1", self.host})
        words = f"-p {self.port} -k {self.directory} -c listen_addresses={addresses} -c max_connections=200"
        _control(
            self.directory, "-o", f"{words} -c fsync=off", "-l", str(self.directory / "log"), "-w", "start"
        )


@contextmanager
def running_postgres(host: str = "127.0.0.1") -> Iterator[Postgres]:
    """Run a PostgreSQL server on a free port; without PostgreSQL, skip at home and fail in CI."""
    if _program("initdb") is None:
        missing("PostgreSQL is not installed: apt-get install postgresql-15")
    directory = Path(tempfile.mkdtemp(prefix="ferryman-pg-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    _run(_program("initdb") or "", "-D", str(directory / "data"), "-A", "trust", "-U", "postgres", "-N")
    with open(directory / "data" / "pg_hba.conf", "a", encoding="utf-8") as rules:
        rules.write(f"host all all {host}/24 trust\n")
    server = Postgres(free_port(), directory, host)
    server.start()
    try:
        server.sql("CREATE DATABASE migrated")
        migrate(server.url("migrated"))
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def migrate(url: str) -> None:
    """Make the tables, and nobody's installation: each copy gets one of its own when it is opened."""
    db = Database(StoreSettings(database_url=url))
    db.open()
    with db.begin() as c:
        c.exec_driver_sql("DELETE FROM installation")
        c.exec_driver_sql("DELETE FROM lapses")
    db.close()


def missing(what: str) -> None:
    """Skip at home and fail in CI, because a missing server must never look like a passed run."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _control(directory: Path, *words: str) -> None:
    _run(_program("pg_ctl") or "", "-D", str(directory / "data"), *words)


def _program(name: str) -> str | None:
    found = shutil.which(name)
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(installed[-1]) if installed else None)


def _run(*words: str) -> None:
    # PostgreSQL refuses to run as root. Its server inherits no pipe of ours, which would never end.
    user = ("runuser", "-u", "postgres", "--") if getpass.getuser() == "root" else ()
    with tempfile.TemporaryFile() as said:
        done = subprocess.run([*user, *words], stdout=said, stderr=said, timeout=60, cwd="/")
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
