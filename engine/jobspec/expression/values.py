"""Values of expressions: their kinds, their words, equality, and the keys of maps.

A value is None, a bool, int, float, str, list or dict (with any key that `as_key` makes), a date, a duration, or a
function. Lists and dicts are never changed once made.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from engine.jobspec.expression.bounds import VALUE_DEPTH, Meter
from engine.jobspec.expression.dates import Date, Duration, Month, Weekday, Zone
from engine.jobspec.expression.errors import Reason, fail

Value = Any

#: Kind, as `type()` tells it, and the words for it in messages.
WORDS = {
    "nil": "nil",
    "bool": "a bool",
    "int": "an integer",
    "float": "a float",
    "string": "a text",
    "array": "a list",
    "map": "a map",
    "time.Time": "a date",
    "time.Duration": "a duration",
    "time.Month": "a month",
    "time.Weekday": "a weekday",
    "time.Location": "a time zone",
    "func": "a function",
}
_KINDS: dict[type, str] = {
    type(None): "nil",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    list: "array",
    dict: "map",
    Date: "time.Time",
    Duration: "time.Duration",
    Month: "time.Month",
    Weekday: "time.Weekday",
    Zone: "time.Location",
}
#: Python has one key for 1 and true, so a bool that is a key is wrapped.
_TRUE, _FALSE = ("bool", True), ("bool", False)


def kind_of(value: Value) -> str:
    """Return the kind of a value, as `type()` tells it."""
    return _KINDS.get(type(value), "func")


def words_for(value: Value) -> str:
    """Return the words for the kind of a value; a message never tells the value."""
    return WORDS[kind_of(value)]


def is_number(value: Value) -> bool:
    """Return whether the value counts as a number; a bool does not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_key(value: Value) -> Hashable:
    """Return the form in which a value is the key of a map. Raises ExpressionError for a list, map or function."""
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, list | dict) or kind_of(value) == "func":
        fail(Reason.TYPE, f"expected a text, a number, a bool or nil as key, found {words_for(value)}")
    key: Hashable = value
    return key


def from_key(key: Hashable) -> Value:
    """Return the value of a key."""
    return key[1] if isinstance(key, tuple) else key


def equal(left: Value, right: Value, meter: Meter) -> bool:
    """Return whether two values are equal, by value at every depth: 1 is 1.0, and no text is a number."""
    waiting = [(left, right, 0)]
    while waiting:
        item, twin, depth = waiting.pop()
        meter.spend()
        if depth > VALUE_DEPTH:
            too_deep()
        if isinstance(item, list) and isinstance(twin, list):
            if len(item) != len(twin):
                return False
            waiting.extend((inner, other, depth + 1) for inner, other in zip(item, twin, strict=True))
        elif isinstance(item, dict) and isinstance(twin, dict):
            if item.keys() != twin.keys():
                return False
            waiting.extend((inner, twin[key], depth + 1) for key, inner in item.items())
        elif not _are_equal(item, twin, meter):
            return False
    return True


def _are_equal(left: Value, right: Value, meter: Meter) -> bool:
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, str) and isinstance(right, str) and len(left) == len(right):
        meter.read(left)
    return kind_of(left) == kind_of(right) and bool(left == right)


def identity(value: Value, meter: Meter, depth: int = 0) -> Hashable:
    """Return a hashable form of a value: equal values have the same one."""
    meter.spend()
    if depth > VALUE_DEPTH:
        too_deep()
    if isinstance(value, list):
        return ("array", *(identity(item, meter, depth + 1) for item in value))
    if isinstance(value, dict):
        return frozenset((key, identity(item, meter, depth + 1)) for key, item in value.items())
    if isinstance(value, str):
        meter.read(value)
    return as_key(value)


def parts(value: Value) -> Iterator[tuple[Value, int]]:
    """Yield the value and everything in it, with the depth, the value itself at 0."""
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, list):
            waiting.extend((item, depth + 1) for item in part)
        elif isinstance(part, dict):
            waiting.extend((item, depth + 1) for item in part.values())


def finished(value: Value, meter: Meter) -> Value:
    """Return the result of an expression, unless it is too deep or has a function in it."""
    if not isinstance(value, list | dict) and kind_of(value) != "func":
        return value
    for part, depth in parts(value):
        meter.spend()
        if depth > VALUE_DEPTH:
            too_deep()
        if kind_of(part) == "func":
            fail(Reason.TYPE, "expected a value, found a function; write its arguments in parentheses")
    return value


def too_deep() -> None:
    """Refuse a value."""
    fail(Reason.LIMIT, f"a value may be nested {VALUE_DEPTH} levels deep, this one goes deeper")
