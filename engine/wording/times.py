"""Points in time as answers write them: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def rfc3339(ms: int) -> str: ...
@overload
def rfc3339(ms: int | None) -> str | None: ...
def rfc3339(ms: int | None) -> str | None:
    """Return milliseconds since 1970 as `2026-11-25T02:00:00.250Z`, None for None."""
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03d}Z"


def seconds_since_1970(text: str) -> float:
    """Return an RFC 3339 time, with up to nanoseconds, as seconds. Raises ValueError when it has another form."""
    return datetime.fromisoformat(text).timestamp()


def ms_between(begin: str | None, end: str | None) -> float | None:
    """Return milliseconds from one RFC 3339 time to another, None when one of them is missing."""
    if not begin or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds() * 1000
