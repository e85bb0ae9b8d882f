"""Database of the simulated installations, which counts changes and runs SQLite fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import sqlalchemy as sa

from engine.settings import StoreSettings
from engine.store import tables
from engine.store.database import Database
from tests.simulator.swift import Swift

#: Some noon, as SQLite's julianday tells it.
_NOON = 2461000.0
_WIPE = [
    *(
        tables.metadata.tables[name].delete()
        for name in ("events", "links", "attempts", "tasks", "jobs", "nodes")
    ),
    tables.lapses.update().values(last=0),
]


class CountingDatabase(Database):
    """Database that counts the changes of each table.

    A database in memory has one connection: its transactions begin and end on the driver itself, and the clock stands
    still, so that a seed has the same story each time.
    """

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self._writes = 0
        self._swift: Swift | None = None
        self._driver: Any = None

    def open(self) -> str:
        """Open the real database; SQLite's one connection is the simulator's from then on."""
        found = super().open()
        if self.is_sqlite:
            borrowed = self._write.raw_connection()
            driver: Any = borrowed.driver_connection
            borrowed.close()
            # The real clock's SQL asks this function.
            driver.create_function("julianday", 1, lambda _: _NOON)
            self._bare = sa.create_engine(
                "sqlite://", creator=lambda: driver, poolclass=sa.StaticPool, pool_reset_on_return=None
            )
            self._swift, self._driver = Swift(self._bare.connect(), driver), driver
        return found

    def close(self) -> None:
        """Close the simulator's connection too."""
        if self._swift is not None:
            self._swift.close()
            self._bare.dispose()
        super().close()

    @property
    def is_swift(self) -> bool:
        """Return whether this is one connection to a database in memory."""
        return self._swift is not None

    def changes(self, table: str) -> int:
        """Return a number that rises with each transaction that changed this table."""
        # PostgreSQL's driver does not say: there each transaction counts.
        return self._writes if self._swift is None else self._swift.changes[table]

    @contextmanager
    def unseen(self, table: str) -> Iterator[None]:
        """Leave changes of this table inside uncounted."""
        before = self.changes(table)
        yield
        if self._swift is None:
            self._writes = before
        else:
            self._swift.changes[table] = before

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction that may write."""
        if self._swift is None:
            self._writes += 1
            with super().begin() as c:
                yield c
            return
        self._driver.execute("BEGIN IMMEDIATE")
        try:
            yield cast(sa.Connection, self._swift)
        except BaseException:
            self._driver.execute("ROLLBACK")
            raise
        self._driver.execute("COMMIT")

    def wipe(self) -> None:
        """Delete all rows and reset the lapse counter."""
        with self.begin() as c:
            for statement in _WIPE:
                c.execute(statement)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that reads; a single thread needs none, because nothing changes meanwhile."""
        if self._swift is None:
            with super().read() as c:
                yield c
        else:
            yield cast(sa.Connection, self._swift)
