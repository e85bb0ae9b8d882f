"""Dates, durations and zones, as values of expressions and with the methods of Go's package time."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from engine.jobspec.expression.bounds import whole
from engine.jobspec.expression.errors import Reason, fail

_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART = re.compile(r"([0-9]{1,19})?(?:\.([0-9]{0,19}))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_TEXT = 128
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = "a date between the years 1 and 9999"


class Month(int):
    """Month, 1 to 12; it prints its name."""

    NAMES = (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    )

    def __str__(self) -> str:
        return self.NAMES[self - 1]


class Weekday(int):
    """Day of the week, 0 (Sunday) to 6; it prints its name."""

    NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

    def __str__(self) -> str:
        return self.NAMES[self]


@dataclass(frozen=True, slots=True)
class Zone:
    """Time zone of the zone database."""

    name: str

    @property
    def rules(self) -> zoneinfo.ZoneInfo:
        """Rules of the zone. Raises ExpressionError for an unknown name."""
        try:
            return zoneinfo.ZoneInfo(self.name[:_LONGEST_TEXT])
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            fail(Reason.CONVERSION, "expected a time zone such as UTC or Europe/Rome, found another text")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """Length of time, in nanoseconds."""

    nanoseconds: int

    def __str__(self) -> str:
        """Return the duration in Go's form: 1h30m0s."""
        rest, sign = abs(self.nanoseconds), "-" if self.nanoseconds < 0 else ""
        if rest < 10**9:
            unit = next(name for name in ("ms", "µs", "ns") if rest >= _UNITS[name] or name == "ns")
            return f"{sign}{_decimal(rest, _UNITS[unit])}{unit}" if rest else "0s"
        minutes, seconds = divmod(rest, 60 * 10**9)
        hours, minutes = divmod(minutes, 60)
        before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
        return f"{sign}{before}{_decimal(seconds, 10**9)}s"


def _decimal(count: int, unit: int) -> str:
    before, after = divmod(count, unit)
    digits = str(after).rjust(len(str(unit)) - 1, "0").rstrip("0") if after else ""
    return f"{before}.{digits}" if digits else str(before)


def duration_of(nanoseconds: int) -> Duration:
    """Return the duration, unless it needs more than 64 bits (292 years)."""
    return Duration(whole(nanoseconds))


def read_duration(text: str) -> Duration:
    """Read a duration in Go's form, as in 1h30m and -1.5h. Raises ExpressionError."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    total, end = 0, 0
    if rest == "0":
        return Duration(0)
    while end < len(rest) <= _LONGEST_TEXT:
        part = _PART.match(rest, end)
        if part is None or not (part[1] or part[2]):
            break
        unit, fraction = _UNITS[part[3]], part[2] or ""
        total += int(part[1] or 0) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        end = part.end()
    if not rest or end < len(rest):
        fail(Reason.CONVERSION, "expected a duration such as 1h30m, 90s or 1500ms, found another text")
    return duration_of(sign * total)


@dataclass(frozen=True, slots=True, order=True)
class Date:
    """Moment, in a time zone; microseconds are its smallest part."""

    moment: datetime

    def __str__(self) -> str:
        """Return the date in Go's form: 2024-02-29 00:00:00 +0000 UTC."""
        fraction = f".{self.moment.microsecond:06d}".rstrip("0") if self.moment.microsecond else ""
        return f"{_day_and_time(self.moment, ' ')}{fraction} {offset(self.moment)} {zone_name(self.moment)}"

    def rfc3339(self) -> str:
        """Return the date as JSON has it."""
        fraction = f".{self.moment.microsecond:06d}".rstrip("0") if self.moment.microsecond else ""
        zone = offset(self.moment, ":")
        return f"{_day_and_time(self.moment, 'T')}{fraction}{'Z' if zone == '+00:00' else zone}"


def _day_and_time(moment: datetime, between: str) -> str:
    # strftime does not pad years below 1000 everywhere.
    return f"{moment.year:04d}-{moment:%m-%d}{between}{moment:%H:%M:%S}"


def offset(moment: datetime, colon: str = "") -> str:
    """Return the distance from UTC: +0200, or +02:00 with a colon."""
    minutes = _offset_minutes(moment)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{colon}{abs(minutes) % 60:02d}"


def zone_name(moment: datetime) -> str:
    """Return the short name of the zone, as CET; its distance from UTC where it has no name."""
    if isinstance(moment.tzinfo, zoneinfo.ZoneInfo):
        return moment.tzname() or offset(moment)
    return "UTC" if moment.tzinfo is UTC else offset(moment)


def _offset_minutes(moment: datetime) -> int:
    return int((moment.utcoffset() or timedelta()).total_seconds() // 60)


def fixed_zone(minutes: int) -> timezone:
    """Return the zone at a distance from UTC."""
    if abs(minutes) >= 24 * 60:
        fail(Reason.CONVERSION, "expected a distance from UTC below 24 hours, found a larger one")
    return timezone(timedelta(minutes=minutes)) if minutes else UTC


def at_milliseconds(since_epoch: int) -> Date:
    """Return the date, in UTC, that many milliseconds after 1970."""
    return moved(Date(_EPOCH), Duration(since_epoch * 10**6))


def moved(date: Date, by: Duration) -> Date:
    """Return the date that much later."""
    try:
        return Date(
            (date.moment.astimezone(UTC) + timedelta(microseconds=by.nanoseconds // 1000)).astimezone(
                date.moment.tzinfo
            )
        )
    except OverflowError:
        fail(Reason.RANGE, f"expected {_YEARS}, found one outside")


def between(later: Date, earlier: Date) -> Duration:
    """Return the time from one date to another."""
    return duration_of(_microseconds(later.moment - earlier.moment) * 1000)


def unix_nanoseconds(date: Date) -> int:
    """Return the nanoseconds since 1970."""
    return whole(_microseconds(date.moment - _EPOCH) * 1000)


def _microseconds(distance: timedelta) -> int:
    return distance // timedelta(microseconds=1)


def in_zone(date: Date, zone: Zone) -> Date:
    """Return the same moment in another zone."""
    try:
        return Date(date.moment.astimezone(UTC if zone.name == "UTC" else zone.rules))
    except OverflowError:
        fail(Reason.RANGE, f"expected {_YEARS}, found one outside")


def on_calendar(date: Date, years: int, months: int, days: int) -> Date:
    """Return the date moved on the calendar; a day beyond the end of a month runs into the next, as in Go."""
    if max(abs(years), abs(months), abs(days)) > 10**6:
        fail(Reason.RANGE, f"expected {_YEARS}, found one outside")
    moment = date.moment
    year, month = divmod(moment.year * 12 + moment.month - 1 + years * 12 + months, 12)
    try:
        return Date(moment.replace(year=year, month=month + 1, day=1) + timedelta(days=moment.day - 1 + days))
    except (ValueError, OverflowError):
        fail(Reason.RANGE, f"expected {_YEARS}, found one outside")
