"""Events, read in the order in which they were committed.

On PostgreSQL, ids are not in commit order. An event is therefore shown only when every transaction that began
before its own has ended, in the order of (transaction, id), so a reader who continues after a cursor skips nothing.
A long transaction elsewhere on that server delays events and loses none. SQLite has one writer at a time.
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
    """Text that is not a cursor of this database's events."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is not a cursor of events: give the id of an event, or leave it out")


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
    """Insert an event, in the transaction of the verb, with its caller as the author.

    `task` gives job, task, attempt and delivery; `job_id` is for events of a job alone. `reason` is in words.
    """
    subject = _of(task) if task else {**_NO_TASK, "job_id": job_id}
    what = {"kind": kind, "from_state": from_state, "to_state": to_state, "node": node, "reason": reason}
    c.execute(_INSERT[c.dialect.name], subject | what | {"author": str(caller)})


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
    """Insert the same event for each of these tasks, with one statement."""
    if tasks:
        what = {"kind": kind, "from_state": from_state, "to_state": to_state, "node": None, "reason": reason}
        c.execute(_INSERT[c.dialect.name], [_of(task) | what | {"author": str(caller)} for task in tasks])


_NO_TASK: dict[str, Any] = {"job_id": None, "task_id": None, "attempt": None, "delivery": None}


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
    """Return at most `limit` events after the cursor (None: from the first one), in commit order.

    `settled` is for a task or job that has ended: its last event does not wait for older transactions of others.
    Raises UnknownCursor.
    """
    params: dict[str, Any] = {"the_limit": limit}
    if cursor is not None:
        params["the_txid"], params["the_id"] = _parse(c, cursor)
    if task_id is not None:
        params["the_task"] = task_id
    if job_id is not None:
        params["the_job"] = job_id
    query = _after(frozenset(params), settled or _is_sqlite(c))
    return [_event(c, row) for row in c.execute(query, params)]


@cache
def _after(given: frozenset[str], are_all_readable: bool) -> sa.Select[Any]:
    """Return the statement of `after` for these parameters; cached, because readers ask all the time."""
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
    """Return the cursor of the newest event that can be read; `after` it come only new events."""
    newest = _readable(c, sa.select(_rows.c.txid, _rows.c.id))
    row = c.execute(newest.order_by(_rows.c.txid.desc(), _rows.c.id.desc()).limit(1)).first()
    return _text(c, *(row or (0, 0)))


def is_later(c: sa.Connection, cursor: str, than: str) -> bool:
    """Return whether `cursor` comes after `than`. Raises UnknownCursor."""
    return _parse(c, cursor) > _parse(c, than)


def _is_sqlite(c: sa.Connection) -> bool:
    return c.dialect.name == "sqlite"


def _readable(c: sa.Connection, query: sa.Select[Any]) -> sa.Select[Any]:
    return query if _is_sqlite(c) else query.where(_rows.c.txid < _OLDEST_OPEN)


def _parse(c: sa.Connection, cursor: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None or (match[1] is None) != _is_sqlite(c):
        raise UnknownCursor(cursor)
    txid, id = int(match[1] or 0), int(match[2])
    if max(txid, id) > _LARGEST:
        raise UnknownCursor(cursor)
    return txid, id


def _text(c: sa.Connection, txid: int, id: int) -> str:
    return str(id) if _is_sqlite(c) else f"{txid}-{id}"


def _event(c: sa.Connection, row: Any) -> Event:
    values = dict(row._mapping)
    return Event(cursor=_text(c, values.pop("txid"), values.pop("id")), **values)
