"""Table of all functions by name, and of the methods of each kind of value."""

from __future__ import annotations

from engine.jobspec.expression.functions.collections import COLLECTIONS
from engine.jobspec.expression.functions.conversions import CONVERSIONS
from engine.jobspec.expression.functions.numbers import NUMBERS
from engine.jobspec.expression.functions.predicates import PREDICATES
from engine.jobspec.expression.functions.table import Function
from engine.jobspec.expression.functions.texts import TEXTS
from engine.jobspec.expression.functions.times import OF_DATES, OF_DURATIONS, OF_NAMES, TIMES

FUNCTIONS: dict[str, Function] = {
    **TEXTS.functions,
    **NUMBERS.functions,
    **COLLECTIONS.functions,
    **PREDICATES.functions,
    **CONVERSIONS.functions,
    **TIMES.functions,
}
METHODS: dict[str, dict[str, Function]] = {
    "time.Time": OF_DATES.functions,
    "time.Duration": OF_DURATIONS.functions,
    "time.Month": OF_NAMES.functions,
    "time.Weekday": OF_NAMES.functions,
}
