"""Formats of values for people: durations, times, ids, and texts that somebody else chose."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from engine.wording.durations import duration
from engine.wording.text import harmless, last_drawn, shorten
from engine.wording.times import rfc3339

_MOST_LINE = 4000


def install(filters: dict[str, Any]) -> None:
    """Add the formats to the filters of templates, under their own names."""
    filters.update(
        {
            format.__name__: format
            for format in (age, clock, day, duration, one_line, plain, rfc3339, short_id)
        }
    )


def age(ms: int) -> str:
    """Return how long ago, in words."""
    return "just now" if ms < 1000 else f"{duration(ms)} ago"


def clock(ms: int | None) -> str:
    """Return the time of day in UTC; scripts replace it by local time."""
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S")


def day(ms: int | None) -> str:
    """Return day and time in UTC, for a tooltip."""
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%a %d %b %Y %H:%M:%S UTC")


def short_id(id: str | None) -> str:
    """Return the first eight characters, which the API accepts as an id."""
    return (id or "")[:8]


def plain(text: str | None) -> str:
    """Return the text with control characters and changes of direction replaced."""
    return harmless(text or "", keep="\t\n", instead="\ufffd")


def one_line(text: str | None, most: int = 120) -> str:
    """Return the plain text on one line, shortened to `most` characters."""
    words = plain((text or "")[: most * 4 + 200].expandtabs(1).replace("\n", " ")).split()
    return shorten(" ".join(words), most)


def line_text(text: str) -> str:
    """Return a log line as a terminal shows it in the end: no escapes, only the text after the last `\\r`."""
    return shorten(plain(last_drawn(text)), _MOST_LINE)
