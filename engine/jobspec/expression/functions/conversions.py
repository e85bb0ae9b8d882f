"""Functions between kinds: numbers and texts, JSON, Base64."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, NoReturn

from engine.jobspec.expression.bounds import GREATEST_INTEGER, LEAST_INTEGER, VALUE_DEPTH, whole
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.functions.table import Table
from engine.jobspec.expression.printing import as_json, printed
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import Value, kind_of, parts, too_deep

CONVERSIONS = Table()
GROUP = "Conversion"
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,9})?|inf(?:inity)?|nan)",
    re.IGNORECASE | re.ASCII,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


@CONVERSIONS.add(GROUP, "type(value: any) -> text", "The kind of the value, in Go's words.", "type([1])")
def _type(tools: Tools, value: Value) -> str:
    return kind_of(value)


@CONVERSIONS.add(
    GROUP,
    "string(value: any) -> text",
    "The text that a template inserts: nothing for nil, JSON for lists and maps.",
    "string([1, 2.5])",
)
def _string(tools: Tools, value: Value) -> str:
    return printed(value, tools.meter)


@CONVERSIONS.add(
    GROUP,
    "int(value: text|number) -> int",
    "A number cut to an integer, or the integer that a text is, without blanks.",
    'int("42")',
)
def _int(tools: Tools, value: Value) -> int:
    if isinstance(value, str):
        if _INTEGER.fullmatch(value) is None or not LEAST_INTEGER <= int(value) <= GREATEST_INTEGER:
            fail(
                Reason.CONVERSION,
                "expected a text of digits that is an integer of 64 bits, found another; see trim()",
            )
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        fail(Reason.RANGE, "expected a number that an integer can hold, found an infinite one or none")
    return whole(int(value))


@CONVERSIONS.add(
    GROUP,
    "float(value: text|number) -> float",
    "The number as a float, or the one that a text is.",
    'float("1.5")',
)
def _float(tools: Tools, value: Value) -> float:
    if not isinstance(value, str):
        return float(value)
    number = float(value) if _FLOAT.fullmatch(value) else math.nan
    if (math.isnan(number) and "nan" not in value.lower()) or (
        math.isinf(number) and "inf" not in value.lower()
    ):
        fail(Reason.CONVERSION, "expected a text that is a number, found another; see trim()")
    return number


@CONVERSIONS.add(
    GROUP,
    "toJSON(value: any) -> text",
    "The value as JSON, over several lines with the keys in order.",
    "toJSON([1, 2])",
)
def _to_json(tools: Tools, value: Value) -> str:
    return as_json(value, tools.meter)


@CONVERSIONS.add(
    GROUP,
    "fromJSON(text: text) -> any",
    "The value of a JSON text; whole numbers are integers.",
    'fromJSON("[1, 2.5]")',
)
def _from_json(tools: Tools, text: str) -> Value:
    return read_json(tools, text)


def read_json(tools: Tools, text: str) -> Value:
    """Read JSON strictly, within the bounds of values."""
    tools.meter.text(len(text))
    tools.meter.spend((text.count(",") + text.count("[") + text.count("{")) // 8)
    try:
        value = json.loads(text, parse_int=_json_integer, parse_float=_json_float, parse_constant=_no_json)
    except json.JSONDecodeError as exc:
        fail(Reason.CONVERSION, f"expected JSON, found another text from character {exc.pos + 1} on")
    except RecursionError:
        too_deep()
    for part, depth in parts(value):
        if depth > VALUE_DEPTH:
            too_deep()
        if isinstance(part, list | dict):
            tools.meter.copy(len(part))
    # Only escapes can make half a pair; no text with one could be stored.
    return (
        _repaired(value)
        if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False))
        else value
    )


def _no_json(word: str) -> NoReturn:
    fail(Reason.CONVERSION, "expected JSON, found NaN or Infinity, which it does not have")


def _json_integer(digits: str) -> int | float:
    if len(digits) <= 20 and LEAST_INTEGER <= int(digits) <= GREATEST_INTEGER:
        return int(digits)
    return _json_float(digits)


def _json_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        fail(Reason.CONVERSION, "expected JSON with numbers that a float can hold, found a larger one")
    return number


def _repaired(value: Any) -> Value:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    if isinstance(value, dict):
        return {_repaired(key): _repaired(item) for key, item in value.items()}
    return value


@CONVERSIONS.add(GROUP, "toBase64(text: text) -> text", "The text's UTF-8 in Base64.", 'toBase64("hello")')
def _to_base64(tools: Tools, text: str) -> str:
    return tools.meter.made(base64.b64encode(text.encode()).decode())


@CONVERSIONS.add(
    GROUP,
    "fromBase64(text: text) -> text",
    "The text that Base64, with its padding, stands for.",
    'fromBase64("aGVsbG8=")',
)
def _from_base64(tools: Tools, text: str) -> str:
    tools.meter.text(len(text))
    try:
        # Go skips line ends.
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True).decode()
    except (binascii.Error, ValueError):
        fail(Reason.CONVERSION, "expected Base64 of a text in UTF-8, with its padding, found another text")
