"""SQLAlchemy's statements, compiled once, on SQLite's driver: a tenth of the time for the same SQL.

Only the parts of a connection that the store uses are here. A statement that is executed for the first time, or
built for each call, goes through SQLAlchemy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import result_tuple

#: So many statements of late are remembered, to know one that comes again.
_REMEMBERED = 50
_MOST_RECORDS = 1000

Values = dict[str, Any]
T = TypeVar("T")


class Answer:
    """Result of an execution."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one_or_none(self) -> Any:
        assert len(self._rows) < 2
        return self.first()


class _Plan:
    """One statement for one set of parameters."""

    def __init__(self, dialect: sa.Dialect, statement: Any, given: Values) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(given))
        # An IN is written out here: its number of values is part of what the plan is for.
        state = compiled.construct_expanded_state(given)
        self.sql = state.statement
        self._lists = {
            name: expanded for name, expanded in state.parameter_expansion.items() if name in given
        }
        processors = {**compiled._bind_processors, **state.processors}
        self._binds: list[tuple[str, Any, Callable[[Any], Any] | None]] = [
            (name, state.parameters[name], processors.get(name)) for name in state.positiontup
        ]
        columns = compiled._result_columns
        self._processors = [
            # The same JSON comes again and again, and nobody changes it.
            (n, lru_cache(1000)(processor))
            for n, column in enumerate(columns)
            if (processor := column.type._cached_result_processor(dialect, None))
        ]
        self._row = result_tuple([column.keyname for column in columns]) if columns else None

    def bound(self, given: Values) -> tuple[Any, ...]:
        """Return the parameters in their places."""
        if self._lists:
            given = given | {
                one: value
                for name, expanded in self._lists.items()
                for one, value in zip(expanded, given[name], strict=True)
            }
        return tuple(
            given.get(name, fixed) if processor is None else processor(given.get(name, fixed))
            for name, fixed, processor in self._binds
        )

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return rows like SQLAlchemy's."""
        if self._row is None:
            return []
        if not self._processors:
            return [self._row(values) for values in found]
        rows = []
        for values in found:
            changed = list(values)
            for n, processor in self._processors:
                changed[n] = processor(changed[n])
            rows.append(self._row(changed))
        return rows


class Swift:
    """Replacement of a `sqlalchemy.Connection`."""

    def __init__(self, connection: sa.Connection, driver: Any) -> None:
        self.dialect = connection.dialect
        self._slow, self._cursor = connection, driver.cursor()
        #: How often each table was changed.
        self.changes: Counter[str] = Counter()
        #: By a statement's id, which stays its own while the statement is kept here.
        self._plans: dict[int, tuple[Any, dict[tuple[Any, ...], _Plan]]] = {}
        self._late: dict[int, Any] = {}
        self._records: dict[tuple[int, Any], Any] = {}

    def execute(self, statement: Any, given: Values | list[Values] | None = None) -> Any:
        """Execute a statement."""
        answer = self._execute(statement, given)
        # With RETURNING, SQLite counts only while the rows are fetched.
        if statement.is_dml and (answer.rowcount or statement._returning):
            self.changes[statement.table.name] += 1
        return answer

    def _execute(self, statement: Any, given: Values | list[Values] | None) -> Any:
        known = self._plans.get(id(statement)) or self._promote(statement)
        if known is None:
            return self._slow.execute(statement, given)
        values = given[0] if isinstance(given, list) else given or {}
        keys = tuple((name, len(value)) if type(value) is list else name for name, value in values.items())
        plan = known[1].get(keys)
        if plan is None:
            plan = known[1][keys] = _Plan(self.dialect, statement, values)
        cursor = self._cursor
        if isinstance(given, list):
            cursor.executemany(plan.sql, [plan.bound(one) for one in given])
            return Answer([], cursor.rowcount)
        cursor.execute(plan.sql, plan.bound(values))
        found = cursor.fetchall()
        return Answer(plan.rows(found), len(found) if cursor.description else cursor.rowcount)

    def scalar(self, statement: Any, given: Values | None = None) -> Any:
        """Return the first column of the first row."""
        row = self.execute(statement, given).first()
        return None if row is None else row[0]

    def scalars(self, statement: Any, given: Values | None = None) -> list[Any]:
        """Return the first column of all rows."""
        return [row[0] for row in self.execute(statement, given)]

    def records(self, statement: Any, record: Callable[[Any], T]) -> list[T]:
        """Return the rows as values; a row that was seen before is the same value."""
        known = self._plans.get(id(statement))
        if known is None:
            return [record(row) for row in self.execute(statement)]
        plan = known[1].get(()) or known[1].setdefault((), _Plan(self.dialect, statement, {}))
        self._cursor.execute(plan.sql, plan.bound({}))
        if len(self._records) > _MOST_RECORDS:
            self._records.clear()
        found = []
        for values in self._cursor.fetchall():
            key = (id(statement), values)
            if key not in self._records:
                self._records[key] = record(plan.rows([values])[0])
            found.append(self._records[key])
        return found

    def close(self) -> None:
        """Close; the driver's connection stays open."""
        self._cursor.close()
        self._slow.close()

    def _promote(self, statement: Any) -> Any:
        """Make a plan for a statement that comes the second time."""
        if id(statement) not in self._late:
            self._late[id(statement)] = statement
            if len(self._late) > _REMEMBERED:
                del self._late[next(iter(self._late))]
            return None
        del self._late[id(statement)]
        self._plans[id(statement)] = (statement, {})
        return self._plans[id(statement)]
