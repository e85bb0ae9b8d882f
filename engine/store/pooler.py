"""Poolers between Ferryman and PostgreSQL: one that gives each connection a session of its own is used, others not.

Ferryman sets time-outs for each session, and psycopg prepares statements in it. A pooler that gives each transaction
another session (pgbouncer's transaction mode) would mix them with those of others.
"""

from __future__ import annotations

from typing import Any

import psycopg

from engine.errors import SettingsError

#: Times that two connections are compared: another client's turn in between may hide that they share a session.
_ROUNDS = 5
_PID = "SELECT pg_backend_pid()"


def refuse_shared_sessions(connect: Any) -> None:
    """Raise SettingsError when `connect` leads to a pooler that does not give each connection its own session."""
    with connect() as first:
        first.autocommit = True
        if _pid(first) == first.info.backend_pid:
            return  # the server itself
        with connect() as second:
            second.autocommit = True
            try:
                shared = any(_share(first, second) for _ in range(_ROUNDS))
            except psycopg.errors.ProtocolViolation as exc:
                raise _refusal(str(exc).strip()) from exc
            if shared:
                raise _refusal("two connections got the same session")


def _share(first: Any, second: Any) -> bool:
    """Return whether the first connection's session goes to the second, or changes meanwhile."""
    before = _pid(first)
    with second.transaction():
        return bool(_pid(second) == before or _pid(first) != before)


def _pid(connection: Any) -> int:
    return int(connection.execute(_PID, prepare=False).fetchone()[0])


def _refusal(reason: str) -> SettingsError:
    return SettingsError(
        "FERRYMAN_DATABASE_URL leads to a pooler that shares sessions between connections, such as pgbouncer in "
        f"transaction mode ({reason}): set pool_mode = session, or connect to PostgreSQL itself"
    )
