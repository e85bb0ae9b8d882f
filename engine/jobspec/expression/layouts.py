"""Layouts of Go's package time: texts in which 2006-01-02 15:04:05 stands for the parts of a date."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from engine.jobspec.expression.dates import Date, Month, Weekday, fixed_zone, offset, zone_name
from engine.jobspec.expression.errors import Reason, fail

#: Layouts that `date(text)` tries, in this order.
USUAL = (
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
)
LONGEST_LAYOUT = 256
_LONGEST_TEXT = 256

_PARTS = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|__2|002|-07:00|-0700|-07|Z07:00|Z0700|_2|01|02|03|04|05|06|15|PM|pm|[.,]0+(?!\d)|"
    r"[.,]9+(?!\d)|[1-5]"
)
_SHORT_MONTHS = tuple(name[:3] for name in Month.NAMES)
_SHORT_DAYS = tuple(name[:3] for name in Weekday.NAMES)

_WRITERS: dict[str, Callable[[datetime], str]] = {
    "January": lambda moment: Month.NAMES[moment.month - 1],
    "Jan": lambda moment: _SHORT_MONTHS[moment.month - 1],
    "Monday": lambda moment: Weekday.NAMES[moment.isoweekday() % 7],
    "Mon": lambda moment: _SHORT_DAYS[moment.isoweekday() % 7],
    "MST": zone_name,
    "2006": lambda moment: f"{moment.year:04d}",
    "06": lambda moment: f"{moment.year % 100:02d}",
    "01": lambda moment: f"{moment.month:02d}",
    "1": lambda moment: str(moment.month),
    "02": lambda moment: f"{moment.day:02d}",
    "_2": lambda moment: f"{moment.day:2d}",
    "2": lambda moment: str(moment.day),
    "002": lambda moment: f"{moment.timetuple().tm_yday:03d}",
    "__2": lambda moment: f"{moment.timetuple().tm_yday:3d}",
    "15": lambda moment: f"{moment.hour:02d}",
    "03": lambda moment: f"{(moment.hour + 11) % 12 + 1:02d}",
    "3": lambda moment: str((moment.hour + 11) % 12 + 1),
    "04": lambda moment: f"{moment.minute:02d}",
    "4": lambda moment: str(moment.minute),
    "05": lambda moment: f"{moment.second:02d}",
    "5": lambda moment: str(moment.second),
    "PM": lambda moment: "PM" if moment.hour >= 12 else "AM",
    "pm": lambda moment: "pm" if moment.hour >= 12 else "am",
    "-0700": offset,
    "-07:00": lambda moment: offset(moment, ":"),
    "-07": lambda moment: offset(moment)[:3],
    "Z0700": lambda moment: offset(moment) if moment.utcoffset() else "Z",
    "Z07:00": lambda moment: offset(moment, ":") if moment.utcoffset() else "Z",
}
_OFFSET = r"[+-][0-9]{2}:?[0-9]{2}"
#: Part -> (meaning, pattern of what is read).
_READERS: dict[str, tuple[str, str]] = {
    "January": ("month name", "|".join(Month.NAMES)),
    "Jan": ("month name", "|".join(_SHORT_MONTHS)),
    "Monday": ("", "|".join(Weekday.NAMES)),
    "Mon": ("", "|".join(_SHORT_DAYS)),
    "MST": ("zone", r"[A-Z]{3,4}|[+-][0-9]{2}(?:[0-9]{2})?"),
    "2006": ("year", "[0-9]{4}"),
    "06": ("short year", "[0-9]{2}"),
    "01": ("month", "[0-9]{2}"),
    "1": ("month", "[0-9]{1,2}"),
    "02": ("day", "[0-9]{1,2}"),
    "_2": ("day", " ?[0-9]{1,2}"),
    "2": ("day", "[0-9]{1,2}"),
    "002": ("day of year", "[0-9]{3}"),
    "__2": ("day of year", " {0,2}[0-9]{1,3}"),
    "15": ("hour", "[0-9]{2}"),
    "03": ("hour", "[0-9]{1,2}"),
    "3": ("hour", "[0-9]{1,2}"),
    "04": ("minute", "[0-9]{2}"),
    "4": ("minute", "[0-9]{1,2}"),
    "05": ("second", "[0-9]{2}"),
    "5": ("second", "[0-9]{1,2}"),
    "PM": ("half", "AM|PM"),
    "pm": ("half", "am|pm"),
    "-0700": ("offset", "[+-][0-9]{4}"),
    "-07:00": ("offset", "[+-][0-9]{2}:[0-9]{2}"),
    "-07": ("offset", "[+-][0-9]{2}"),
    "Z0700": ("offset", "Z|[+-][0-9]{4}"),
    "Z07:00": ("offset", "Z|[+-][0-9]{2}:[0-9]{2}"),
}


def _split(layout: str) -> list[tuple[str, bool]]:
    """Return the pieces of a layout, and for each whether it stands for a part of a date."""
    if len(layout) > LONGEST_LAYOUT:
        fail(Reason.LIMIT, f"a layout may have {LONGEST_LAYOUT} characters, this one has {len(layout)}")
    pieces, end = [], 0
    for match in _PARTS.finditer(layout):
        pieces += [(layout[end : match.start()], False), (match[0], True)]
        end = match.end()
    return [(piece, is_part) for piece, is_part in [*pieces, (layout[end:], False)] if piece]


def written(date: Date, layout: str) -> str:
    """Return the date in a layout."""
    return "".join(
        _fraction(date.moment, piece)
        if is_part and piece[0] in ".,"
        else _WRITERS[piece](date.moment)
        if is_part
        else piece
        for piece, is_part in _split(layout)
    )


def _fraction(moment: datetime, piece: str) -> str:
    digits = f"{moment.microsecond * 1000:09d}"[: len(piece) - 1]
    if piece[1] == "9":
        digits = digits.rstrip("0")
    return f"{piece[0]}{digits}" if digits else ""


def read(text: str, layout: str, zone: tzinfo = UTC) -> Date | None:
    """Read a date in a layout, in the zone where the text has none; None for another text."""
    parts: dict[str, str] = {}
    at, pieces = 0, _split(layout)
    if len(text) > _LONGEST_TEXT:
        return None
    for piece, is_part in pieces:
        if not is_part:
            if not text.startswith(piece, at):
                return None
            at += len(piece)
            continue
        meaning, pattern = _READERS.get(piece, ("fraction", r"(?:[.,][0-9]{1,9})?"))
        # Seconds may have a fraction that the layout does not mention.
        pattern += r"(?:[.,][0-9]{1,9})?" if meaning == "second" else ""
        match = re.compile(pattern if meaning == "second" else f"(?:{pattern})").match(text, at)
        if match is None:
            return None
        at = match.end()
        parts[meaning] = match[0]
    return _date(parts, zone) if at == len(text) else None


def _date(parts: dict[str, str], zone: tzinfo) -> Date | None:
    second, _, fraction = parts.get("second", "0").replace(",", ".").partition(".")
    fraction = parts.get("fraction", "").strip(".,") or fraction
    hour = int(parts.get("hour", 0))
    if half := parts.get("half", "").lower():
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        moment = datetime(
            _year(parts), _month(parts), int(parts.get("day", 1)), hour, int(parts.get("minute", 0)), int(second),
            int(fraction[:6].ljust(6, "0")) if fraction else 0, _zone(parts, zone),
        )  # fmt: skip
        if "day of year" in parts:
            moment = _on_day(moment, int(parts["day of year"]))
    except (ValueError, OverflowError):
        return None
    return Date(moment)


def _on_day(moment: datetime, day: int) -> datetime:
    """Return the moment on a day of its year. Raises ValueError for a day that the year does not have."""
    moved = moment.replace(month=1, day=1) + timedelta(days=day - 1)
    if moved.year != moment.year:
        raise ValueError(day)
    return moved


def _year(parts: dict[str, str]) -> int:
    if "short year" in parts:
        year = int(parts["short year"])
        return year + (1900 if year >= 69 else 2000)
    # Go's year 0 does not exist for Python; a time without a day is on the first day of year 1.
    return int(parts.get("year", 1))


def _month(parts: dict[str, str]) -> int:
    if name := parts.get("month name"):
        return _SHORT_MONTHS.index(name[:3]) + 1
    return int(parts.get("month", 1))


def _zone(parts: dict[str, str], zone: tzinfo) -> tzinfo:
    text = parts.get("offset", "")
    if not text:
        return UTC if parts.get("zone") in ("UTC", "GMT") else zone
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return fixed_zone(-minutes if text[0] == "-" else minutes)
