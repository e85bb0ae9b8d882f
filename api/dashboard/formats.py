"""Formats of values for people: durations, times, ids, and texts that somebody else chose."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from engine.wording.durations import duration
from engine.wording.text import harmless, last_drawn, shorten
from engine.wording.times import rfc3339

_MOST_LINE = 4000


def install(filters: dict[str, Any]) -> None:
    """Add the formats to the filters of templates, under their own names."""
    filters.update(
        {format.__name__: format for format in (age, clock, cut, day, duration, exact, id8, plain, term)}
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


def exact(ms: int | None) -> str:
    """Return RFC 3339, for the attribute `datetime`."""
    return rfc3339(ms) or ""


def id8(id: str | None) -> str:
    """Return the first eight characters, which the API accepts as an id."""
    return (id or "")[:8]


def plain(text: str | None) -> str:
    """The text without signs that steer: what it says is what is seen."""
    return harmless(text or "", keep="\t\n", instead="\ufffd")


def cut(text: str | None, most: int = 120) -> str:
    """The text on one line, at most `most` signs long, without signs that steer."""
    one_line = " ".join(plain((text or "")[: most * 4 + 200].expandtabs(1).replace("\n", " ")).split())
    return shorten(one_line, most)


def line_text(text: str) -> str:
    """A piece of a log as its line looks on a terminal in the end: no escapes, the last of what `\\r` redrew."""
    return shorten(plain(last_drawn(text)), _MOST_LINE)


def term(words: Iterable[str]) -> str:
    """Return the words of a command, joined by spaces."""
    return " ".join(words)
