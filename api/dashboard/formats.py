"""Formats of values for people: durations, times, ids, and texts that somebody else chose."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from api.answers import rfc3339

#: Signs that steer a terminal or turn the direction of what follows; shown as a replacement character.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
#: Colours and cursor movements of terminals (ECMA-48 control sequences, OSC strings).
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_MOST_LINE = 4000


def install(filters: dict[str, Any]) -> None:
    """Add the formats to the filters of templates, under their own names."""
    filters.update(
        {format.__name__: format for format in (age, clock, cut, day, duration, exact, id8, plain, term)}
    )


def duration(ms: int | None) -> str:
    """Milliseconds as `380 ms`, `2.1 s`, `38 s`, `14m 38s`, `3h 04m`, `6d 02h`; "" for None."""
    if ms is None:
        return ""
    if ms < 950:
        return f"{max(0, ms)} ms"
    if ms < 9950:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d {seconds % 86400 // 3600:02d}h"


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
    return _STEERING.sub("\ufffd", text or "")


def cut(text: str | None, most: int = 120) -> str:
    """The text on one line, at most `most` signs long, without signs that steer."""
    one_line = " ".join(plain((text or "")[: most * 4 + 200].expandtabs(1).replace("\n", " ")).split())
    return one_line if len(one_line) <= most else f"{one_line[: most - 1].rstrip()}…"


def line_text(text: str) -> str:
    """A piece of a log as its line looks on a terminal in the end: no escapes, the last of what `\\r` redrew."""
    redrawn = text.rstrip("\r\n").rpartition("\r")[2]
    bare = plain(_ESCAPES.sub("", redrawn))
    return bare if len(bare) <= _MOST_LINE else f"{bare[:_MOST_LINE]}…"


def term(words: Iterable[str]) -> str:
    """Return the words of a command, joined by spaces."""
    return " ".join(words)
