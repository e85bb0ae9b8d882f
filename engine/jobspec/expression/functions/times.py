"""Functions that make dates and durations, and the methods of both."""

from __future__ import annotations

from datetime import UTC

from engine.jobspec.expression import dates, layouts
from engine.jobspec.expression.dates import Date, Duration, Month, Weekday, Zone
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.functions.table import Table
from engine.jobspec.expression.tools import Tools

TIMES = Table()
OF_DATES = Table()
OF_DURATIONS = Table()
OF_NAMES = Table()
GROUP = "Dates and durations"
#: Reading or writing a date takes as long as this many steps.
_READING_STEPS = 100


@TIMES.add(
    GROUP,
    "now() -> date",
    "The time at which the expression is evaluated, in UTC.",
    'now() > date("2024-01-01")',
)
def _now(tools: Tools) -> Date:
    return dates.at_milliseconds(tools.outside.now_ms)


@TIMES.add(
    GROUP,
    "duration(text: text) -> duration",
    "The duration that a text in Go's form is.",
    'duration("1h30m")',
)
def _duration(tools: Tools, text: str) -> Duration:
    return dates.read_duration(text)


@TIMES.add(
    GROUP,
    "date(text: text, layout: text?, zone: text?) -> date",
    "The date that a text is, in the usual forms or in a layout of Go, in UTC or the zone.",
    'date("29.02.2024", "02.01.2006")',
)
def _date(tools: Tools, text: str, layout: str = "", zone: str = "UTC") -> Date:
    tools.meter.spend(_READING_STEPS)
    rules = UTC if zone == "UTC" else Zone(zone).rules
    for candidate in (layout,) if layout else layouts.USUAL:
        if date := layouts.read(text, candidate, rules):
            return date
    fail(Reason.CONVERSION, "expected a date such as 2024-02-29 or 2024-02-29T10:20:30Z, found another text")


@TIMES.add(GROUP, "timezone(name: text) -> zone", "The time zone of that name.", 'timezone("UTC")')
def _timezone(tools: Tools, name: str) -> Zone:
    tools.meter.spend(_READING_STEPS)
    zone = Zone(name)
    assert name == "UTC" or zone.rules
    return zone


METHODS = "Of a date"


@OF_DATES.add(METHODS, "Year() -> int", "Its year.", 'date("2024-02-29").Year()')
def _year(tools: Tools, date: Date) -> int:
    return date.moment.year


@OF_DATES.add(
    METHODS, "Month() -> month", "Its month, 1 to 12; it prints its name.", 'date("2024-02-29").Month()'
)
def _month(tools: Tools, date: Date) -> Month:
    return Month(date.moment.month)


@OF_DATES.add(METHODS, "Day() -> int", "Its day of the month.", 'date("2024-02-29").Day()')
def _day(tools: Tools, date: Date) -> int:
    return date.moment.day


@OF_DATES.add(METHODS, "Hour() -> int", "Its hour.", 'date("2024-02-29T10:20:30Z").Hour()')
def _hour(tools: Tools, date: Date) -> int:
    return date.moment.hour


@OF_DATES.add(METHODS, "Minute() -> int", "Its minute.", 'date("2024-02-29T10:20:30Z").Minute()')
def _minute(tools: Tools, date: Date) -> int:
    return date.moment.minute


@OF_DATES.add(METHODS, "Second() -> int", "Its second.", 'date("2024-02-29T10:20:30Z").Second()')
def _second(tools: Tools, date: Date) -> int:
    return date.moment.second


@OF_DATES.add(
    METHODS, "Nanosecond() -> int", "The nanoseconds of its second.", 'date("2024-02-29").Nanosecond()'
)
def _nanosecond(tools: Tools, date: Date) -> int:
    return date.moment.microsecond * 1000


@OF_DATES.add(
    METHODS,
    "Weekday() -> weekday",
    "Its weekday, 0 (Sunday) to 6; it prints its name.",
    'date("2024-02-29").Weekday()',
)
def _weekday(tools: Tools, date: Date) -> Weekday:
    return Weekday(date.moment.isoweekday() % 7)


@OF_DATES.add(METHODS, "YearDay() -> int", "Its day of the year.", 'date("2024-02-29").YearDay()')
def _year_day(tools: Tools, date: Date) -> int:
    return date.moment.timetuple().tm_yday


@OF_DATES.add(METHODS, "Unix() -> int", "The seconds since 1970.", 'date("2024-02-29").Unix()')
def _unix(tools: Tools, date: Date) -> int:
    return _since_epoch(date, 10**9)


@OF_DATES.add(METHODS, "UnixMilli() -> int", "The milliseconds since 1970.", 'date("2024-02-29").UnixMilli()')
def _unix_milli(tools: Tools, date: Date) -> int:
    return _since_epoch(date, 10**6)


@OF_DATES.add(METHODS, "UnixMicro() -> int", "The microseconds since 1970.", 'date("2024-02-29").UnixMicro()')
def _unix_micro(tools: Tools, date: Date) -> int:
    return _since_epoch(date, 10**3)


@OF_DATES.add(METHODS, "UnixNano() -> int", "The nanoseconds since 1970.", 'date("2024-02-29").UnixNano()')
def _unix_nano(tools: Tools, date: Date) -> int:
    return _since_epoch(date, 1)


def _since_epoch(date: Date, unit: int) -> int:
    return dates.unix_nanoseconds(date) // unit


@OF_DATES.add(
    METHODS,
    "Format(layout: text) -> text",
    "Itself in a layout of Go.",
    'date("2024-02-29").Format("02.01.2006")',
)
def _format(tools: Tools, date: Date, layout: str) -> str:
    tools.meter.spend(_READING_STEPS)
    return layouts.written(date, layout)


@OF_DATES.add(
    METHODS,
    "Add(duration: duration) -> date",
    "Itself that much later.",
    'date("2024-02-29").Add(duration("1h"))',
)
def _add(tools: Tools, date: Date, duration: Duration) -> Date:
    return dates.moved(date, duration)


@OF_DATES.add(
    METHODS,
    "Sub(earlier: date) -> duration",
    "The time since another.",
    'date("2024-03-01").Sub(date("2024-02-29"))',
)
def _sub(tools: Tools, date: Date, earlier: Date) -> Duration:
    return dates.between(date, earlier)


@OF_DATES.add(
    METHODS,
    "AddDate(years: int, months: int, days: int) -> date",
    "Itself moved on the calendar.",
    'date("2024-02-29").AddDate(0, 1, 0)',
)
def _add_date(tools: Tools, date: Date, years: int, months: int, days: int) -> Date:
    return dates.on_calendar(date, years, months, days)


@OF_DATES.add(
    METHODS,
    "In(zone: zone) -> date",
    "The same moment in a time zone.",
    'date("2024-02-29").In(timezone("Europe/Rome"))',
)
def _in(tools: Tools, date: Date, zone: Zone) -> Date:
    return dates.in_zone(date, zone)


@OF_DATES.add(METHODS, "UTC() -> date", "The same moment in UTC.", 'date("2024-02-29T10:20:30+02:00").UTC()')
def _utc(tools: Tools, date: Date) -> Date:
    return dates.in_zone(date, Zone("UTC"))


@OF_DATES.add(
    METHODS,
    "Before(other: date) -> bool",
    "Whether it is earlier.",
    'date("2024-02-29").Before(date("2024-03-01"))',
)
def _before(tools: Tools, date: Date, other: Date) -> bool:
    return date < other


@OF_DATES.add(
    METHODS,
    "After(other: date) -> bool",
    "Whether it is later.",
    'date("2024-02-29").After(date("2024-03-01"))',
)
def _after(tools: Tools, date: Date, other: Date) -> bool:
    return date > other


@OF_DATES.add(
    METHODS,
    "Equal(other: date) -> bool",
    "Whether it is the same moment.",
    'date("2024-02-29").Equal(date("2024-03-01"))',
)
def _equal(tools: Tools, date: Date, other: Date) -> bool:
    return date == other


@OF_DATES.add(METHODS, "String() -> text", "Itself as it is printed.", 'date("2024-02-29").String()')
def _date_string(tools: Tools, date: Date) -> str:
    return str(date)


LENGTHS = "Of a duration"


@OF_DURATIONS.add(LENGTHS, "Hours() -> float", "Its hours.", 'duration("90m").Hours()')
def _hours(tools: Tools, duration: Duration) -> float:
    return duration.nanoseconds / (3600 * 10**9)


@OF_DURATIONS.add(LENGTHS, "Minutes() -> float", "Its minutes.", 'duration("90s").Minutes()')
def _minutes(tools: Tools, duration: Duration) -> float:
    return duration.nanoseconds / (60 * 10**9)


@OF_DURATIONS.add(LENGTHS, "Seconds() -> float", "Its seconds.", 'duration("1500ms").Seconds()')
def _seconds(tools: Tools, duration: Duration) -> float:
    return duration.nanoseconds / 10**9


@OF_DURATIONS.add(
    LENGTHS, "Milliseconds() -> int", "Its whole milliseconds.", 'duration("1.5s").Milliseconds()'
)
def _milliseconds(tools: Tools, duration: Duration) -> int:
    return int(duration.nanoseconds / 10**6)


@OF_DURATIONS.add(
    LENGTHS, "Microseconds() -> int", "Its whole microseconds.", 'duration("1ms").Microseconds()'
)
def _microseconds(tools: Tools, duration: Duration) -> int:
    return int(duration.nanoseconds / 10**3)


@OF_DURATIONS.add(LENGTHS, "Nanoseconds() -> int", "Its nanoseconds.", 'duration("1ms").Nanoseconds()')
def _nanoseconds(tools: Tools, duration: Duration) -> int:
    return duration.nanoseconds


@OF_DURATIONS.add(LENGTHS, "String() -> text", "Itself as it is printed.", 'duration("90m").String()')
def _duration_string(tools: Tools, duration: Duration) -> str:
    return str(duration)


@OF_NAMES.add(
    "Of a month or weekday", "String() -> text", "Its name.", 'date("2024-02-29").Weekday().String()'
)
def _name_string(tools: Tools, name: Month | Weekday) -> str:
    return str(name)
