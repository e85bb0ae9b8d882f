"""Connections to SQLite and PostgreSQL, the database's clock, and the schema of an empty database."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from engine.errors import SettingsError, StoreDamaged, StoreUnavailable
from engine.settings import StoreSettings, private, without_password
from engine.store import tables, upgrade
from engine.store.faults import as_unavailable, is_away

#: Type that `begin` and `read` yield and that verbs pass on to the store's functions.
Connection = sa.Connection


class now_ms(FunctionElement[int]):
    """Milliseconds since 1970 by the database's clock (SQLite: the host's)."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now_ms, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    # clock_timestamp, not now(): the time of the statement, not of the transaction's begin.
    return "(extract(epoch from clock_timestamp()) * 1000)::bigint"


@compiles(now_ms, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


class Database:
    """Database: a pool for writers and, on SQLite, one for readers that never take the write lock.

    Safe to share between threads; a forked child calls `after_fork` first.
    """

    def __init__(
        self, settings: StoreSettings, pool: int = 10, on_damage: Callable[[StoreDamaged], None] | None = None
    ) -> None:
        """Open nothing yet; `pool` bounds this process's connections (a further one waits store_timeout).

        `on_damage` is called by whichever thread first meets damaged data. Raises SettingsError.
        """
        self.url = _parse(settings.database_url)
        self._on_damage = on_damage
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timeout_seconds = settings.store_timeout_seconds
        #: Known from the first connection on: no pooler shares PostgreSQL's sessions.
        self._sessions_are_own = False
        # SQLite's waiters sleep up to 100 ms between tries; within a process a lock wakes the next at once.
        self._writing = threading.Lock()
        self._write = self._engine(pool, immediate=True)
        in_file = self.is_sqlite and self.url.database not in (None, "", ":memory:")
        # A database in memory is its connection: a second engine would be a second, empty one.
        self._read = self._engine(pool, immediate=False) if in_file else self._write

    def __repr__(self) -> str:
        return f"Database({without_password(self.url.render_as_string(hide_password=True))})"

    def _engine(self, pool: int, *, immediate: bool) -> sa.Engine:
        seconds = self._timeout_seconds
        # Parameters are users' data, and belong neither in errors nor in logs.
        hidden: dict[str, Any] = {"hide_parameters": True}
        bounds: dict[str, Any] = hidden | {"pool_size": pool, "max_overflow": pool, "pool_timeout": seconds}
        if not self.is_sqlite:
            arguments = {
                "connect_timeout": max(2, min(10, int(seconds))),
                "application_name": "ferryman",
                # A connection that breaks silently (no RST) is noticed in 10 s, not in hours.
                "keepalives_idle": 5,
                "keepalives_interval": 5,
                "keepalives_count": 2,
                # The same for sent data that is never acknowledged: the kernel's own bound is 15 min.
                "tcp_user_timeout": 10_000,
            }
            try:
                engine = sa.create_engine(self.url, pool_pre_ping=True, connect_args=arguments, **bounds)
            except ImportError as exc:
                raise SettingsError(
                    "FERRYMAN_DATABASE_URL names a PostgreSQL, whose driver is not installed: "
                    "pip install 'ferryman[postgresql]'"
                ) from exc
            sa.event.listen(engine, "do_connect", self._connect_bounded)
            sa.event.listen(engine, "handle_error", _replace_connection)
            return engine
        if self.url.database in (None, "", ":memory:"):
            # One connection for all, because the database dies with it.
            engine = sa.create_engine(
                self.url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False}, **hidden
            )
        else:
            engine = sa.create_engine(
                self.url, connect_args={"check_same_thread": False, "timeout": seconds}, **bounds
            )
        sa.event.listen(engine, "connect", self._prepare_sqlite)
        statement = "BEGIN IMMEDIATE" if immediate else "BEGIN"
        sa.event.listen(engine, "begin", lambda connection: _begin_sqlite(connection, statement))
        return engine

    def _connect_bounded(self, dialect: Any, record: Any, words: list[Any], options: dict[str, Any]) -> Any:
        # psycopg is installed only where PostgreSQL is used.
        from engine.store import pg_deadline, pooler

        def connect() -> pg_deadline.DeadlineConnection:
            connection = pg_deadline.connect(self._timeout_seconds, *words, **options)
            _refuse_encoding(connection.info.parameter_status("server_encoding"), connection.info.dbname)
            return connection

        if not self._sessions_are_own:
            # Before any setting: in a shared session it would reach other clients.
            pooler.refuse_shared_sessions(connect)
            self._sessions_are_own = True
        connection = connect()
        pg_deadline.set_time_outs(connection, int(self._timeout_seconds * 1000))
        return connection

    def _prepare_sqlite(self, connection: Any, record: Any) -> None:
        # The driver's own BEGIN is deferred, and a read that turns into a write would fail at once.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(self._timeout_seconds * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        # Debian's SQLite overwrites deleted rows (SECURE_DELETE): dropping a log's chunks would write them again.
        cursor.execute("PRAGMA secure_delete = FAST")
        cursor.close()

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction that may write; commit it at the end, roll it back on an error.

        SQLite: BEGIN IMMEDIATE, so there is one writer at a time. Raises StoreUnavailable when the database does
        not answer in time; the outcome is unknown then (even the commit may or may not have happened). A
        statement waits store_timeout; on PostgreSQL 2 s more when the server itself hangs.
        """
        with self._one_writer(), self._translated(), self._write.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _one_writer(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        if not self._writing.acquire(timeout=self._timeout_seconds):
            raise StoreUnavailable(
                f"no turn to write within {self._timeout_seconds:g} s: the database is busy"
            )
        try:
            yield
        finally:
            self._writing.release()

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads; on SQLite it never waits. Raises StoreUnavailable."""
        with self._translated(), self._read.begin() as connection:
            yield connection

    def open(self) -> str:
        """Create or upgrade the schema, under a lock; return the installation's id.

        Raises StoreUnavailable, SchemaMismatch when the database is newer than this Ferryman, and SettingsError
        when the file cannot be made or a pooler shares its sessions.
        """
        if self.is_sqlite and self.url.database not in (None, "", ":memory:"):
            _make_private(Path(self.url.database))
        with self._translated(), self._write.begin() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7309453)")
            upgrade.to_newest(connection)
            return _installation_id(connection)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as exc:
            error = as_unavailable(exc)
            if error is None:
                raise
            if isinstance(error, StoreDamaged) and self._on_damage is not None:
                self._on_damage(error)
            raise error from exc

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them (SQLAlchemy: pooling, multiprocessing)."""
        self._writing = threading.Lock()
        self._write.dispose(close=False)
        self._read.dispose(close=False)

    def close(self) -> None:
        """Close all idle connections."""
        self._write.dispose()
        self._read.dispose()


def _refuse_encoding(encoding: str | None, name: str) -> None:
    """Raise SettingsError for a database that cannot store every text."""
    if encoding not in (None, "UTF8"):
        raise SettingsError(
            f"the database {name!r} has the encoding {encoding}: make one with createdb -E UTF8 -T template0 NAME, and "
            "name it in FERRYMAN_DATABASE_URL"
        )


def _parse(text: str) -> sa.URL:
    try:
        url = sa.engine.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        # A text without a scheme may be the password alone.
        begins = text.partition("://")[0][:20] if "://" in text else "?"
    else:
        begins = url.drivername
        if "@" in (url.host or ""):
            raise SettingsError("FERRYMAN_DATABASE_URL: the host has an @; in a password, write %40 for @")
        if url.drivername in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
            return url
    raise SettingsError(
        f"FERRYMAN_DATABASE_URL begins with {begins!r}: expected postgresql+psycopg://user:password@host/name, or "
        "sqlite:////path/of/the/file"
    )


def _replace_connection(context: sa.ExceptionContext) -> None:
    """Take the connection out of the pool: a later one may reach a writable server, without old statements."""
    if is_away(context.original_exception):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _begin_sqlite(connection: sa.Connection, statement: str) -> None:
    # On the driver itself: SQLAlchemy's way takes longer than all statements of most transactions.
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(statement)
    except sqlite3.OperationalError as exc:
        raise sa.exc.OperationalError(statement, None, exc) from exc


def _make_private(path: Path) -> None:
    """Create the data directory with mode 0700 and the file with 0600, because they hold users' data.

    Raises SettingsError, also for a file of another account, which could change what tasks run.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        elif reason := private.foreign_owner(path.stat()):
            raise SettingsError(f"the database {path} {reason}: chown it, or set FERRYMAN_DATABASE_URL")
    except OSError as exc:
        reason = f"cannot create {path} ({exc.strerror})"
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
            raise StoreUnavailable(reason) from exc
        raise SettingsError(f"{reason}; set FERRYMAN_DATA_DIR or FERRYMAN_DATABASE_URL") from exc


def _installation_id(connection: sa.Connection) -> str:
    if known := connection.scalar(sa.select(tables.installation.c.id)):
        return str(known)
    new = secrets.token_hex(4)
    connection.execute(tables.installation.insert().values(one=1, id=new, created_at=now_ms()))
    connection.execute(tables.lapses.insert().values(one=1, last=0))
    return new
