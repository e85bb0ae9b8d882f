"""Error of an expression: the expression, the place, and the reason in words, never a value."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

from engine.errors import FerrymanError
from engine.wording.text import harmless

#: Characters of an expression that a message shows, on both sides of the place.
_SHOWN = 30


class Reason(StrEnum):
    """Class of an error. `defect` is a fault in Ferryman; every other one is for the author of the expression."""

    SYNTAX = "syntax"
    UNKNOWN_NAME = "unknown-name"
    REDECLARED = "redeclared"
    ARITY = "arity"
    TYPE = "type"
    CONVERSION = "conversion"
    RANGE = "range"
    NIL_ACCESS = "nil-access"
    VALUE = "value"
    REGEX = "regex"
    DIVISION_BY_ZERO = "division-by-zero"
    LIMIT = "limit"
    DEFECT = "defect"


class ExpressionError(FerrymanError):
    """Error of an expression. Place and source are added by the caller who knows them."""

    def __init__(
        self, reason: Reason, message: str, at: int | None = None, source: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.at = at
        self.source = source
        #: Place of the expression in the text around it, in characters from 0.
        self.offset = 0

    @property
    def place(self) -> tuple[int, int]:
        """Line and column in the expression, both counted from 1, the column in characters."""
        before = (self.source or "")[: self.at or 0]
        return (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)

    def __str__(self) -> str:
        if self.source is None:
            return self.message
        line, column = self.place
        where = f"column {column}" if "\n" not in self.source else f"line {line}, column {column}"
        return f"{_extract(self.source, self.at or 0)}, {where}: {self.message}"


def fail(reason: Reason, message: str, at: int | None = None) -> NoReturn:
    """Raise the error."""
    raise ExpressionError(reason, message, at)


def _extract(source: str, at: int) -> str:
    start, end = max(0, at - _SHOWN), at + _SHOWN
    before, after = "…" if start else "", "…" if end < len(source) else ""
    return f"`{before}{harmless(source[start:end])}{after}`"
