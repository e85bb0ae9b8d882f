"""Functions on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.jobspec.expression.bounds import VALUE_DEPTH, whole
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.functions.table import Table
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import Value, is_number, too_deep, words_for

NUMBERS = Table()
GROUP = "Numbers"
BITS = "Bits"
_MASK = (1 << 64) - 1


@NUMBERS.add(GROUP, "abs(number: number) -> number", "The number without its sign.", "abs(-5)")
def _abs(tools: Tools, number: float) -> float:
    return whole(abs(number)) if isinstance(number, int) else abs(number)


def _to_float(rounded: Callable[[float], int], number: float) -> float:
    if not math.isfinite(number):
        return float(number)
    return math.copysign(float(rounded(number)), number)


@NUMBERS.add(GROUP, "ceil(number: number) -> float", "The next whole number above, as a float.", "ceil(1.2)")
def _ceil(tools: Tools, number: float) -> float:
    return _to_float(math.ceil, number)


@NUMBERS.add(
    GROUP, "floor(number: number) -> float", "The next whole number below, as a float.", "floor(7 / 2)"
)
def _floor(tools: Tools, number: float) -> float:
    return _to_float(math.floor, number)


@NUMBERS.add(
    GROUP,
    "round(number: number) -> float",
    "The nearest whole number, as a float; halves go away from 0.",
    "round(2.5)",
)
def _round(tools: Tools, number: float) -> float:
    return _to_float(_half_away, number)


def _half_away(number: float) -> int:
    cut = math.trunc(number)
    return cut + (1 if number > 0 else -1) * (abs(number - cut) >= 0.5)


@NUMBERS.add(
    GROUP,
    "max(value: number|list, more: number|list*) -> any",
    "The largest of numbers and lists of numbers; nil for none.",
    "max([3, 1], 2)",
)
def _max(tools: Tools, *values: Value) -> Value:
    return max(_flat("max", tools, values), default=None)


@NUMBERS.add(
    GROUP,
    "min(value: number|list, more: number|list*) -> any",
    "The smallest of numbers and lists of numbers; nil for none.",
    "min(3, 1, 2)",
)
def _min(tools: Tools, *values: Value) -> Value:
    return min(_flat("min", tools, values), default=None)


@NUMBERS.add(
    GROUP,
    "mean(value: number|list, more: number|list*) -> float",
    "The mean of numbers and lists of numbers; 0 for none.",
    "mean([1, 2, 3, 4])",
)
def _mean(tools: Tools, *values: Value) -> float:
    numbers = _flat("mean", tools, values)
    return float(sum(numbers)) / len(numbers) if numbers else 0.0


@NUMBERS.add(
    GROUP,
    "median(value: number|list, more: number|list*) -> float",
    "The median of numbers and lists of numbers; 0 for none.",
    "median([4, 1, 2, 3])",
)
def _median(tools: Tools, *values: Value) -> float:
    numbers = sorted(_flat("median", tools, values))
    half = len(numbers) // 2
    if not numbers:
        return 0.0
    return float(numbers[half]) if len(numbers) % 2 else (float(numbers[half - 1]) + float(numbers[half])) / 2


def _flat(name: str, tools: Tools, values: tuple[Value, ...]) -> list[float]:
    """Return the numbers in nested lists, in order."""
    numbers: list[float] = []
    waiting = [(value, 0) for value in reversed(values)]
    while waiting:
        value, depth = waiting.pop()
        tools.meter.spend()
        if isinstance(value, list) and depth <= VALUE_DEPTH:
            waiting.extend((item, depth + 1) for item in reversed(value))
        elif is_number(value):
            numbers.append(value)
        elif isinstance(value, list):
            too_deep()
        else:
            fail(Reason.TYPE, f"expected numbers and lists of numbers for {name}(), found {words_for(value)}")
    return numbers


@NUMBERS.add(BITS, "bitand(a: int, b: int) -> int", "The bits of both.", "bitand(6, 3)")
def _bitand(tools: Tools, a: int, b: int) -> int:
    return a & b


@NUMBERS.add(BITS, "bitor(a: int, b: int) -> int", "The bits of either.", "bitor(6, 3)")
def _bitor(tools: Tools, a: int, b: int) -> int:
    return a | b


@NUMBERS.add(BITS, "bitxor(a: int, b: int) -> int", "The bits of one of the two only.", "bitxor(6, 3)")
def _bitxor(tools: Tools, a: int, b: int) -> int:
    return a ^ b


@NUMBERS.add(
    BITS, "bitnand(a: int, b: int) -> int", "The bits of the first that the second lacks.", "bitnand(6, 3)"
)
def _bitnand(tools: Tools, a: int, b: int) -> int:
    return a & ~b


@NUMBERS.add(BITS, "bitnot(a: int) -> int", "All bits turned round.", "bitnot(5)")
def _bitnot(tools: Tools, a: int) -> int:
    return ~a


@NUMBERS.add(BITS, "bitshl(a: int, count: int) -> int", "The bits moved to the left.", "bitshl(1, 10)")
def _bitshl(tools: Tools, a: int, count: int) -> int:
    return whole(a << _shift(count))


@NUMBERS.add(
    BITS, "bitshr(a: int, count: int) -> int", "The bits moved to the right; the sign stays.", "bitshr(-8, 1)"
)
def _bitshr(tools: Tools, a: int, count: int) -> int:
    return a >> _shift(count)


@NUMBERS.add(
    BITS,
    "bitushr(a: int, count: int) -> int",
    "The 64 bits moved to the right, zeros before them.",
    "bitushr(-8, 60)",
)
def _bitushr(tools: Tools, a: int, count: int) -> int:
    return whole((a & _MASK) >> _shift(count))


def _shift(count: int) -> int:
    if not 0 <= count < 64:
        fail(Reason.VALUE, "expected a shift of 0 to 63 bits, found another")
    return count


@NUMBERS.add(
    GROUP,
    "sequence(start: int, end: int) -> [int]",
    "The integers from `start` to before `end`. Tork's own.",
    "sequence(0, 3)",
)
def _sequence(tools: Tools, start: int, end: int) -> list[int]:
    tools.meter.copy(max(0, end - start))
    return list(range(start, end))


@NUMBERS.add(
    GROUP,
    "randomInt(below: int?) -> int",
    "A random integer from 0 to before `below` (2^63 - 1). Tork's own.",
    "randomInt(1)",
)
def _random_int(tools: Tools, below: int = (1 << 63) - 1) -> int:
    if below < 1:
        fail(Reason.VALUE, "expected a bound of 1 or more for randomInt(), found a smaller one")
    return tools.outside.draw(below)
