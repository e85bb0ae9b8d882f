"""Tools of one evaluation: the meter, the compiled patterns, and the world outside as arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.jobspec.expression.bounds import Meter
from engine.jobspec.expression.patterns import Patterns


@dataclass(frozen=True, slots=True)
class Outside:
    """World outside an expression: the time, and a draw of a number from 0 to below the argument."""

    now_ms: int
    draw: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Tools:
    """Means of functions and operators."""

    meter: Meter
    patterns: Patterns
    outside: Outside
