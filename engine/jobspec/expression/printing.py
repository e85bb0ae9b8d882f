"""Values as text: as a template inserts them, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from decimal import Decimal

from engine.jobspec.expression.bounds import TEXT_BYTES, VALUE_DEPTH, Meter
from engine.jobspec.expression.dates import Date, Duration, Zone
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.values import Value, from_key, kind_of, too_deep

#: A whole float is written with all its digits up to here; beyond, a float does not hold every integer.
_PLAIN_FLOAT = 1e15
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_HTML_TABLE = str.maketrans(_HTML)


def printed(value: Value, meter: Meter) -> str:
    """Return the text that a template inserts: nothing for nil, JSON for lists and maps."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list | dict):
        return _Writer(meter, None).text(value)
    if kind_of(value) == "func":
        fail(Reason.TYPE, "expected a value, found a function; write its arguments in parentheses")
    meter.spend()
    return str(value)


def as_json(value: Value, meter: Meter) -> str:
    """Return the value as JSON over several lines, keys in order, as Go's encoder writes it."""
    return _Writer(meter, "  ").text(value)


def float_text(number: float) -> str:
    """Return the shortest digits of a float, with an exponent below 1e-4 and above 1e15."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    if 1e-4 <= abs(number) <= _PLAIN_FLOAT or number == 0:
        return _positional(number)
    digits, power = _scientific(number)
    return f"{digits}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _positional(number: float) -> str:
    text = format(Decimal(repr(number)), "f")
    return text.removesuffix(".0")


def _scientific(number: float) -> tuple[str, int]:
    """Return the shortest digits, with a point after the first, and the power of ten."""
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, *rest = map(str, digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' if sign else ''}{first}{fraction}", len(digits) + exponent - 1


def _json_float(number: float) -> str:
    if not math.isfinite(number):
        fail(Reason.CONVERSION, "expected a number that JSON can hold, found an infinite one or none")
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        return _positional(number)
    digits, power = _scientific(number)
    return f"{digits}e{power:+d}"


class _Writer:
    """Writer of one JSON text; with an indentation as Go's encoder writes it, else in one line."""

    def __init__(self, meter: Meter, indentation: str | None) -> None:
        self._meter = meter
        self._indentation = indentation
        self._pieces: list[str] = []
        self._length = 0

    def text(self, value: Value) -> str:
        self._value(value, 0)
        return self._meter.made("".join(self._pieces))

    def _put(self, piece: str) -> None:
        self._length += len(piece)
        if self._length > TEXT_BYTES:
            self._meter.text(self._length)
        self._pieces.append(piece)

    def _value(self, value: Value, depth: int) -> None:
        self._meter.spend()
        if depth > VALUE_DEPTH:
            too_deep()
        if isinstance(value, list):
            self._sequence("[", "]", [(None, item) for item in value], depth)
        elif isinstance(value, dict):
            pairs = sorted(((self._key(key), item) for key, item in value.items()), key=lambda pair: pair[0])
            self._meter.look(pairs)
            self._sequence("{", "}", [(key, item) for key, item in pairs], depth)
        else:
            self._put(self._scalar(value))

    def _sequence(self, start: str, end: str, pairs: list[tuple[str | None, Value]], depth: int) -> None:
        inner = outer = ""
        if self._indentation is not None and pairs:
            inner, outer = (f"\n{self._indentation * level}" for level in (depth + 1, depth))
        between = f",{inner}" if self._indentation is not None else ", "
        self._put(start + inner)
        for number, (key, item) in enumerate(pairs):
            if number:
                self._put(between)
            if key is not None:
                self._put(f"{self._string(key)}: ")
            self._value(item, depth + 1)
        self._put(outer + end)

    def _key(self, key: Hashable) -> str:
        if isinstance(key, str):
            return key
        if self._indentation is not None:
            fail(Reason.CONVERSION, "expected a map with texts as keys for JSON, found another key")
        value = from_key(key)
        return "nil" if value is None else printed(value, self._meter)

    def _scalar(self, value: Value) -> str:
        if isinstance(value, str):
            return self._string(value)
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, float):
            return _json_float(value)
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, Duration):
            return str(value.nanoseconds)
        if isinstance(value, Date):
            return self._string(value.rfc3339())
        if isinstance(value, Zone):
            return "{}"
        fail(Reason.TYPE, "expected a value, found a function; write its arguments in parentheses")

    def _string(self, text: str) -> str:
        self._meter.text(len(text))
        written = json.dumps(text, ensure_ascii=False)
        return written.translate(_HTML_TABLE) if self._indentation is not None else written
