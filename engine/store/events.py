"""What happened, a row each, read in the order in which it was committed.

On PostgreSQL an id is no commit order: a row is shown only when every transaction that began before its
own has ended, in the order of (transaction, id); so a reader that goes on after its cursor skips nothing.
A long transaction elsewhere on that server makes events late, never lost. SQLite has one writer at a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from engine.errors import FerrymanError
from engine.model.records import Caller, Event, Task
from engine.store import tables
from engine.store.database import now_ms

_CURSOR = re.compile(r"(?:(\d{1,19})-)?(\d{1,19})", re.ASCII)
_LARGEST = (1 << 63) - 1
_TXID = sa.literal_column("pg_current_xact_id()::text::bigint", sa.BigInteger())
_OLDEST_OPEN = sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", sa.BigInteger())
_rows = tables.events
#: Built once: an event is written by every verb.
_INSERT = {
    "sqlite": _rows.insert().values(txid=0, time=now_ms()),
    "postgresql": _rows.insert().values(txid=_TXID, time=now_ms()),
}


class UnknownCursor(FerrymanError):
    """The text is no cursor of this database's events."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is no cursor of events here: give the id of an event, or none")


def add(  # noqa: PLR0913 - the event's own fields, named at every call
    c: sa.Connection,
    caller: Caller,
    kind: str,
    task: Task | None = None,
    *,
    job_id: str | None = None,
    to_state: str | None = None,
    from_state: str | None = None,
    node: str | None = None,
    reason: str | None = None,
) -> None:
    """Write that something happened, in the caller's transaction.

    The caller is the author. `task` gives job, task, attempt and delivery; `job_id` is for events of a
    job alone. `reason` is in words.
    """
    whose = _of(task) if task else {**_NOBODY, "job_id": job_id}
    what = {"kind": kind, "from_state": from_state, "to_state": to_state, "node": node, "reason": reason}
    c.execute(_INSERT[c.dialect.name], whose | what | {"author": str(caller)})


def add_all(  # noqa: PLR0913 - as `add`
    c: sa.Connection,
    caller: Caller,
    kind: str,
    tasks: Sequence[Task],
    *,
    to_state: str,
    from_state: str | None = None,
    reason: str | None = None,
) -> None:
    """Write that the same happened to each of these tasks, in one go."""
    if tasks:
        what = {"kind": kind, "from_state": from_state, "to_state": to_state, "node": None, "reason": reason}
        c.execute(_INSERT[c.dialect.name], [_of(task) | what | {"author": str(caller)} for task in tasks])


_NOBODY: dict[str, Any] = {"job_id": None, "task_id": None, "attempt": None, "delivery": None}


def _of(task: Task) -> dict[str, Any]:
    return {
        "job_id": task.job_id,
        "task_id": task.id,
        "attempt": task.attempt,
        "delivery": task.delivery,
    }


def after(
    c: sa.Connection,
    cursor: str | None,
    *,
    task_id: str | None = None,
    job_id: str | None = None,
    limit: int = 500,
    settled: bool = False,
) -> list[Event]:
    """At most `limit` events after the cursor (None: from the first one), in commit order.

    `settled` is for a task or job that has ended: its last event does not wait for older transactions
    of others. Raises UnknownCursor when the text is none of this database's.
    """
    given: dict[str, Any] = {"the_limit": limit}
    if cursor is not None:
        given["the_txid"], given["the_id"] = _parse(c, cursor)
    if task_id is not None:
        given["the_task"] = task_id
    if job_id is not None:
        given["the_job"] = job_id
    query = _after(frozenset(given), settled or _is_sqlite(c))
    return [_event(c, row) for row in c.execute(query, given)]


@cache
def _after(given: frozenset[str], are_all_readable: bool) -> sa.Select[Any]:
    """The statement of `after` for the parameters that are given; built once, since readers ask all the time."""
    query = sa.select(_rows).order_by(_rows.c.txid, _rows.c.id).limit(sa.bindparam("the_limit"))
    if not are_all_readable:
        query = query.where(_rows.c.txid < _OLDEST_OPEN)
    if "the_id" in given:
        seen = (sa.bindparam(name, type_=sa.BigInteger()) for name in ("the_txid", "the_id"))
        query = query.where(sa.tuple_(_rows.c.txid, _rows.c.id) > sa.tuple_(*seen))
    if "the_task" in given:
        query = query.where(_rows.c.task_id == sa.bindparam("the_task"))
    if "the_job" in given:
        query = query.where(_rows.c.job_id == sa.bindparam("the_job"))
    return query


def latest(c: sa.Connection) -> str:
    """The cursor of the newest event that can be read; `after` it comes what is still to happen."""
    newest = _readable(c, sa.select(_rows.c.txid, _rows.c.id))
    row = c.execute(newest.order_by(_rows.c.txid.desc(), _rows.c.id.desc()).limit(1)).first()
    return _text(c, *(row or (0, 0)))


def is_later(c: sa.Connection, cursor: str, than: str) -> bool:
    """True when `cursor` lies behind `than`. Raises UnknownCursor."""
    return _parse(c, cursor) > _parse(c, than)


def _is_sqlite(c: sa.Connection) -> bool:
    return c.dialect.name == "sqlite"


def _readable(c: sa.Connection, query: sa.Select[Any]) -> sa.Select[Any]:
    return query if _is_sqlite(c) else query.where(_rows.c.txid < _OLDEST_OPEN)


def _parse(c: sa.Connection, cursor: str) -> tuple[int, int]:
    found = _CURSOR.fullmatch(cursor)
    if found is None or (found[1] is None) != _is_sqlite(c):
        raise UnknownCursor(cursor)
    txid, id = int(found[1] or 0), int(found[2])
    if max(txid, id) > _LARGEST:
        raise UnknownCursor(cursor)
    return txid, id


def _text(c: sa.Connection, txid: int, id: int) -> str:
    return str(id) if _is_sqlite(c) else f"{txid}-{id}"


def _event(c: sa.Connection, row: Any) -> Event:
    values = dict(row._mapping)
    return Event(cursor=_text(c, values.pop("txid"), values.pop("id")), **values)
