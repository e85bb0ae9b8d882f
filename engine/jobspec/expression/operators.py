"""Operators on values. Each says what it expected and what kind of value it found."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

from engine.jobspec.expression import dates
from engine.jobspec.expression.bounds import whole
from engine.jobspec.expression.dates import Date, Duration
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import Value, as_key, equal, is_number, words_for

Operator = Callable[[Tools, Value, Value], Value]


def _refuse(operator: str, expected: str, left: Value, right: Value) -> NoReturn:
    fail(
        Reason.TYPE, f"expected {expected} around {operator}, found {words_for(left)} and {words_for(right)}"
    )


def number(result: float) -> int | float:
    """Return a result of arithmetic, unless it is an integer beyond 64 bits."""
    return whole(result) if isinstance(result, int) else result


def add(tools: Tools, left: Value, right: Value) -> Value:
    """Add numbers or durations, join texts, move a date."""
    if isinstance(left, str) and isinstance(right, str):
        return tools.meter.made(left + right)
    if is_number(left) and is_number(right):
        return number(left + right)
    if isinstance(left, Duration) and isinstance(right, Duration):
        return dates.duration_of(left.nanoseconds + right.nanoseconds)
    if isinstance(left, Date) and isinstance(right, Duration):
        return dates.moved(left, right)
    if isinstance(left, Duration) and isinstance(right, Date):
        return dates.moved(right, left)
    _refuse("+", "two numbers, two texts, or dates and durations", left, right)


def subtract(tools: Tools, left: Value, right: Value) -> Value:
    """Subtract numbers, durations or dates."""
    if is_number(left) and is_number(right):
        return number(left - right)
    if isinstance(left, Duration) and isinstance(right, Duration):
        return dates.duration_of(left.nanoseconds - right.nanoseconds)
    if isinstance(left, Date) and isinstance(right, Duration):
        return dates.moved(left, Duration(-right.nanoseconds))
    if isinstance(left, Date) and isinstance(right, Date):
        return dates.between(left, right)
    _refuse("-", "two numbers, or dates and durations", left, right)


def multiply(tools: Tools, left: Value, right: Value) -> Value:
    """Multiply numbers, or a duration by a number."""
    if is_number(left) and is_number(right):
        return number(left * right)
    if isinstance(right, Duration):
        left, right = right, left
    if isinstance(left, Duration) and is_number(right):
        product = left.nanoseconds * right
        if not math.isfinite(product):
            fail(Reason.RANGE, "expected a duration of 292 years at most, found a longer one")
        return dates.duration_of(int(product))
    _refuse("*", "two numbers, or a duration and a number", left, right)


def divide(tools: Tools, left: Value, right: Value) -> float:
    """Divide numbers; the result is a float."""
    if not (is_number(left) and is_number(right)):
        _refuse("/", "two numbers", left, right)
    if right == 0:
        fail(Reason.DIVISION_BY_ZERO, "expected a divisor other than 0, found 0")
    return float(left) / float(right)


def remainder(tools: Tools, left: Value, right: Value) -> int:
    """Return the rest of a division of integers, with the sign of the left one."""
    if not _are_integers(left, right):
        _refuse("%", "two integers", left, right)
    if right == 0:
        fail(Reason.DIVISION_BY_ZERO, "expected a divisor other than 0, found 0")
    rest: int = abs(left) % abs(right)
    return -rest if left < 0 else rest


def power(tools: Tools, left: Value, right: Value) -> float:
    """Raise a number to a power; the result is a float."""
    if not (is_number(left) and is_number(right)):
        _refuse("**", "two numbers", left, right)
    try:
        return math.pow(left, right)
    except OverflowError:
        return -math.inf if left < 0 and right % 2 == 1 else math.inf
    except ValueError:
        fail(Reason.VALUE, "expected a power that is a real number, found one that is none")


def _are_integers(left: Value, right: Value) -> bool:
    return isinstance(left, int) and isinstance(right, int) and is_number(left) and is_number(right)


def to_range(tools: Tools, left: Value, right: Value) -> list[int]:
    """Return the integers from one end to the other, both included."""
    first, last = integer(left, "an integer before .."), integer(right, "an integer after ..")
    tools.meter.copy(max(0, last - first + 1))
    return list(range(first, last + 1))


def integer(value: Value, expected: str) -> int:
    """Return the value as an integer; a float that is whole counts as one."""
    if isinstance(value, float) and value.is_integer():
        return whole(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    fail(Reason.TYPE, f"expected {expected}, found {words_for(value)}")


def is_equal(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether both are equal."""
    return equal(left, right, tools.meter)


def is_unequal(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether both differ."""
    return not equal(left, right, tools.meter)


def compare(operator: str, tools: Tools, left: Value, right: Value) -> bool:
    """Compare numbers, texts, dates or durations."""
    if isinstance(left, str) and isinstance(right, str):
        tools.meter.read(left if len(left) < len(right) else right)
    elif not (is_number(left) and is_number(right)) and not any(
        isinstance(left, kind) and isinstance(right, kind) for kind in (Date, Duration)
    ):
        _refuse(operator, "two numbers, texts, dates or durations", left, right)
    return COMPARISONS[operator](left, right)


#: Code points are in the order of the bytes of UTF-8, so texts compare as in Go.
COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
}


def is_in(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether a value is in a list, or a key in a map."""
    if isinstance(right, list):
        return any(equal(left, item, tools.meter) for item in right)
    if isinstance(right, dict):
        return as_key(left) in right
    if right is None:
        return False
    fail(Reason.TYPE, f"expected a list or a map after in, found {words_for(right)}; for texts use contains")


def _texts(operator: str, tools: Tools, left: Value, right: Value) -> bool:
    """Return whether both sides are texts, False when one is nil, so the answer is false."""
    if isinstance(left, str) and isinstance(right, str):
        tools.meter.read(left)
        return True
    if all(side is None or isinstance(side, str) for side in (left, right)):
        return False
    _refuse(operator, "two texts", left, right)


def contains(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether the right text is in the left one."""
    return _texts("contains", tools, left, right) and right in left


def starts_with(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether the left text begins with the right one."""
    return _texts("startsWith", tools, left, right) and left.startswith(right)


def ends_with(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether the left text ends with the right one."""
    return _texts("endsWith", tools, left, right) and left.endswith(right)


def matches(tools: Tools, left: Value, right: Value) -> bool:
    """Return whether the regular expression on the right is found in the text."""
    return _texts("matches", tools, left, right) and tools.patterns.matches(left, right)


BINARY: dict[str, Operator] = {
    "+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder, "**": power, "..": to_range,
    "==": is_equal, "!=": is_unequal, "in": is_in,
    "contains": contains, "startsWith": starts_with, "endsWith": ends_with, "matches": matches,
}  # fmt: skip


def negative(value: Value) -> Value:
    """Return the value with the other sign."""
    if isinstance(value, Duration):
        return dates.duration_of(-value.nanoseconds)
    return number(-plain(value, "-"))


def plain(value: Value, operator: str = "+") -> Value:
    """Return the number as it is."""
    if not is_number(value):
        fail(Reason.TYPE, f"expected a number after {operator}, found {words_for(value)}")
    return value


def truth(value: Value, where: str) -> bool:
    """Return the bool; nothing else counts as true or false."""
    if not isinstance(value, bool):
        fail(Reason.TYPE, f"expected a bool {where}, found {words_for(value)}")
    return value
