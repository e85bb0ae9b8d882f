"""Faults of a database: which are passing, which need an operator, and which are damage."""

from __future__ import annotations

import re
import sqlite3

import sqlalchemy as sa

from engine.errors import StoreDamaged, StoreRefused, StoreUnavailable

#: SQLSTATEs of a server or a pooler that cannot serve now: read-only (25006), a failed or timed-out transaction
#: (25P0x), prepared statements of another connection (26000, 42P05), no resources, shutdown, the disk (53, 57, 58).
_AWAY_STATES = ("25006", "25P0", "26000", "42P05", "53", "57", "58")
#: Damaged rows or a damaged index.
_DAMAGED_STATES = ("XX001", "XX002")
#: Wrong user or password (28), unknown database (3D) or schema (3F), missing permission.
_REFUSED_STATES = ("28", "3D000", "3F000", "42501")
#: The library gives no SQLSTATE for a refused request to connect, only the server's words.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|not permitted to log in"
    r"|(?:role|database) \"[^\"]*\" does not exist|permission denied for database|no such (?:database|user)"
)
_DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REFUSED_CODES = (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)


def as_unavailable(exc: Exception) -> StoreUnavailable | None:
    """Return the error that a caller of the store gets in place of this one, None for a defect."""
    original = getattr(exc, "orig", None) or exc
    reason = (str(original).strip().splitlines() or [type(exc).__name__])[0]
    if _is_damage(original):
        return StoreDamaged(
            f"the database is damaged ({reason}): stop all processes of this installation, restore a backup, and "
            "start them again"
        )
    if _is_refusal(original):
        return StoreRefused(
            f"{reason}: correct FERRYMAN_DATABASE_URL, or what this user may do in the database"
        )
    if isinstance(
        exc, sa.exc.OperationalError | sa.exc.TimeoutError | sa.exc.InterfaceError | sqlite3.OperationalError
    ):
        return StoreUnavailable(reason)
    if is_away(original) or (isinstance(exc, sa.exc.DBAPIError) and exc.connection_invalidated):
        return StoreUnavailable(reason)
    return None


def is_away(error: BaseException | None) -> bool:
    """Return whether the server, or a pooler before it, cannot serve now."""
    state = getattr(error, "sqlstate", None) or ""
    return state.startswith(_AWAY_STATES) or (state == "0A000" and "cached plan" in str(error))


def _is_damage(error: BaseException) -> bool:
    return getattr(error, "sqlstate", None) in _DAMAGED_STATES or _sqlite_code(error) in _DAMAGED_CODES


def _is_refusal(error: BaseException) -> bool:
    if state := getattr(error, "sqlstate", None):
        return str(state).startswith(_REFUSED_STATES)
    if isinstance(error, sqlite3.Error):
        return _sqlite_code(error) in _REFUSED_CODES
    is_request_to_connect = getattr(error, "pgconn", None) is not None
    return is_request_to_connect and _REFUSED.search(str(error)) is not None


def _sqlite_code(error: BaseException) -> int:
    # The upper bits tell which of several ways.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
