"""Inputs of a job: declared with a type, or plain texts as in Tork; and the values that a submission gives them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.jobspec.builder import Scalar
from engine.jobspec.expression import kinds
from engine.jobspec.expression.bounds import Budget, Meter, whole
from engine.jobspec.expression.errors import ExpressionError
from engine.jobspec.expression.kinds import Type
from engine.jobspec.expression.patterns import Patterns, compile_pattern
from engine.jobspec.problems import Fault
from engine.wording.text import quoted

#: Type of an input -> the type of its value in expressions.
TYPES: dict[str, Type] = {
    "string": kinds.TEXT,
    "integer": kinds.INT,
    "number": kinds.NUMBER,
    "boolean": kinds.BOOL,
    "array": kinds.LIST,
    "object": kinds.map_of(kinds.ANY),
}
MOST_INPUTS = 1_000
MOST_INPUT_BYTES = 1 << 20
_EXAMPLES = {
    "string": "a text",
    "integer": "a whole number, as 720",
    "number": "a number, as 0.5",
    "boolean": "true or false",
    "array": "a list, as [1, 2]",
    "object": "a map, as {a: 1}",
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Input:
    """Declaration of an input. A plain text is one of type string with that default."""

    type: str = "string"
    description: str | None = None
    is_required: bool = False
    default: Any = None
    enum: tuple[Any, ...] = ()
    least: float | None = None
    greatest: float | None = None
    #: Regular expression that is found in a string.
    pattern: str | None = None

    def dump(self) -> Any:
        """Return the declaration as JSON; a plain text as itself."""
        if self == Input(default=self.default) and isinstance(self.default, str):
            return self.default
        form = {
            "type": self.type,
            "description": self.description,
            "required": self.is_required or None,
            "default": self.default,
            "enum": list(self.enum) or None,
            "min": self.least,
            "max": self.greatest,
            "pattern": self.pattern,
        }
        return {name: value for name, value in form.items() if value is not None}

    @staticmethod
    def load(form: Any) -> Input:
        """Return the declaration that `dump` wrote, or that the schema has checked."""
        if isinstance(form, str):
            return Input(default=form)
        return Input(
            form.get("type", "string"),
            form.get("description"),
            form.get("required", False),
            form.get("default"),
            tuple(form.get("enum", ())),
            form.get("min"),
            form.get("max"),
            form.get("pattern"),
        )

    @property
    def value_type(self) -> Type:
        """Type of the value in expressions; without a default, and not required, it may be nil."""
        known = TYPES[self.type]
        if self.is_required or self.default is not None:
            return known
        return Type(known.kinds | kinds.NIL.kinds, known.item, keys=known.keys)

    def read(self, given: Any) -> tuple[Any, Fault | None]:
        """Return the value that was given, and the fault of one that does not fit."""
        value = _converted(self.type, given)
        if value is None:
            expected = _EXAMPLES[self.type]
            return None, Fault(f"the value of type {self.type} cannot be read", f"write {expected}")
        return value, self._rule_fault(value)

    def _rule_fault(self, value: Any) -> Fault | None:
        if self.enum and value not in self.enum:
            return Fault("the value is not one of those allowed", f"write one of: {_listed(self.enum)}")
        if self.least is not None and value < self.least:
            return Fault("the value is too small", f"write at least {self.least:g}")
        if self.greatest is not None and value > self.greatest:
            return Fault("the value is too large", f"write at most {self.greatest:g}")
        return self._pattern_fault(value)

    def _pattern_fault(self, value: Any) -> Fault | None:
        if self.pattern is None:
            return None
        try:
            is_found = Patterns(Meter(Budget())).matches(value, self.pattern)
        except ExpressionError as exc:
            return Fault(exc.message, "shorten the text or the pattern")
        return (
            None
            if is_found
            else Fault("the text does not match the pattern", f"write one with {self.pattern}")
        )


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(quoted(value) if isinstance(value, str) else json.dumps(value) for value in values[:20])


def declaration_fault(declared: Input, has_default: bool) -> tuple[str, Fault] | None:
    """Return the field and the fault of a declaration that contradicts itself."""
    if declared.pattern is not None:
        if declared.type != "string":
            return "pattern", Fault("only a string has a pattern", "remove it")
        try:
            compile_pattern(declared.pattern, Meter(Budget()))
        except ExpressionError as exc:
            return "pattern", Fault(exc.message, "write a regular expression of RE2")
    for name, bound in (("min", declared.least), ("max", declared.greatest)):
        if bound is not None and declared.type not in ("integer", "number"):
            return name, Fault("only an integer or a number has bounds", "remove it")
    if declared.least is not None and declared.greatest is not None and declared.least > declared.greatest:
        return "min", Fault("the least value is above the greatest", "exchange them")
    if declared.is_required and has_default:
        return "required", Fault("an input with a default is never missing", "remove required or default")
    return None


def plain(value: Any) -> Any:
    """Return a value of a file with plain numbers and booleans in place of scalars."""
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _converted(kind: str, given: Any) -> Any:
    """Return the value as the type has it, None for one that it cannot be."""
    if kind == "string":
        if isinstance(given, Scalar):
            return given.text
        return given if isinstance(given, str) else None
    value = _from_text(kind, given) if isinstance(given, str) else plain(given)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer":
        return _whole(value) if is_number else None
    if kind == "number":
        return _finite(value) if is_number else None
    wanted = {"boolean": bool, "array": list, "object": dict}[kind]
    return value if isinstance(value, wanted) else None


def _whole(value: float) -> int | None:
    if not math.isfinite(value) or value != int(value):
        return None
    try:
        return whole(int(value))
    except ExpressionError:
        return None


def _finite(value: float) -> float | None:
    if isinstance(value, int):
        return _whole(value)
    return value if math.isfinite(value) else None


def _from_text(kind: str, text: str) -> Any:
    if kind == "integer":
        return int(text) if _INTEGER.fullmatch(text) else None
    if kind == "number":
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _NUMBER.fullmatch(text) else None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text)
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(word: str) -> None:
    raise ValueError(word)


def values(inputs: Mapping[str, Input], given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Fault]]:
    """Return the values of a submission: those given, else the defaults; and the faults by name."""
    chosen: dict[str, Any] = {}
    faults: dict[str, Fault] = {}
    for name in given:
        if name not in inputs:
            known = ", ".join(sorted(inputs)[:20]) or "none"
            faults[name] = Fault(f"the job declares no input {quoted(name)}", f"known inputs are {known}")
    for name, declared in inputs.items():
        value, fault = declared.default, None
        if name in given:
            value, fault = declared.read(given[name])
        elif declared.is_required and value is None:
            fault = Fault("this required input is missing", f"give it: input.{name}=…")
        if fault is not None:
            faults[name] = fault
        elif value is not None:
            chosen[name] = value
    size = len(json.dumps(chosen, ensure_ascii=False).encode("utf-8", "replace"))
    if size > MOST_INPUT_BYTES:
        message = f"the inputs have {size} bytes, at most {MOST_INPUT_BYTES} are allowed"
        faults[""] = Fault(message, "give a place where the data is, not the data")
    return chosen, faults
