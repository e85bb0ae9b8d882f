"""Rows of the bench: the measured values, and how they are printed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The series that is ours; the others stand beside it.
OURS = "ferryman"


@dataclass
class Row:
    """One figure: series of values by name, in the order in which they took turns."""

    name: str
    what: str
    #: "ms" (less is better) or "/s" (more is better).
    unit: str
    #: The series by which ours is divided, "" for a figure without an anchor.
    anchor: str = ""
    #: The ratio to reach; None: the ratio is only printed.
    goal: float | None = None
    series: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float) -> None:
        """Add a value to a series."""
        self.series.setdefault(name, []).append(value)

    @property
    def is_rate(self) -> bool:
        """Return True when a larger value is better."""
        return self.unit.endswith("/s")

    @property
    def ratio(self) -> float | None:
        """Return our median divided by the anchor's."""
        if not self.anchor or OURS not in self.series:
            return None
        return statistics.median(self.series[OURS]) / statistics.median(self.series[self.anchor])

    @property
    def is_met(self) -> bool | None:
        """Return True when the goal is met, None when there is none."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio >= self.goal if self.is_rate else self.ratio <= self.goal

    def as_json(self) -> dict[str, Any]:
        """Return the row with each value."""
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "anchor": self.anchor,
            "goal": self.goal,
            "ratio": self.ratio,
            "met": self.is_met,
            "series": {
                name: {"median": statistics.median(v), "p95": worst(v, is_rate=self.is_rate), "values": v}
                for name, v in self.series.items()
            },
            "notes": self.notes,
        }


def worst(values: Sequence[float], *, is_rate: bool) -> float:
    """Return the 95th percentile by the nearest rank; of a rate, the value that 95 of 100 rounds reach."""
    ranked = sorted(values, reverse=is_rate)
    return ranked[math.ceil(0.95 * len(ranked)) - 1]


def take_turns(row: Row, ways: Mapping[str, Callable[[], float]], n: int) -> Row:
    """Fill the row: each way once unmeasured, then n rounds of all of them, in turn."""
    for way in ways.values():
        way()
    for _ in range(n):
        for name, way in ways.items():
            row.add(name, way())
    return row


def as_text(row: Row) -> str:
    """Return the row as a line for people."""
    lines = [f"{row.name}: {row.what}"]
    for name, values in row.series.items():
        middle, bad = statistics.median(values), worst(values, is_rate=row.is_rate)
        spread = f"{number(min(values))} … {number(max(values))}"
        lines.append(f"    {name:<28} {number(middle):>8} {row.unit:<4} p95 {number(bad):>8}   ({spread})")
    if row.ratio is not None:
        sign = "≥" if row.is_rate else "≤"
        goal = "" if row.goal is None else f", goal {sign} {row.goal}: {'met' if row.is_met else 'MISSED'}"
        lines.append(f"    ratio to {row.anchor}: {row.ratio:.2f}{goal}")
    lines += [f"    {note}" for note in row.notes]
    return "\n".join(lines)


def number(value: float) -> str:
    """Return the number with three digits."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
