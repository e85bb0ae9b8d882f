"""A task's mistakes as people read them: place, field, sentence; on a terminal the line and a caret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.cli import screen
from engine.client import ApiError, Json


@dataclass(frozen=True)
class ReportedProblem:
    """One mistake: where (counted from 1), in which field, and the sentence with its remedy."""

    line: int
    column: int
    path: str
    sentence: str


def of_api(error: ApiError) -> list[ReportedProblem]:
    """The mistakes that the API named."""
    return [_of_json(e) for e in error.errors]


def say(title: str, text: bytes, faults: Sequence[ReportedProblem]) -> None:
    """Print them all, in the order of the text, on standard error."""
    many = f"{len(faults)} problem{'s' * (len(faults) != 1)}"
    screen.complain(f"{title}: {many}")
    places = [f"{f.line}:{f.column}" for f in faults]
    width = max(map(len, places), default=0)
    lines = text.decode("utf-8", "replace").splitlines() if screen.is_live() else []
    for place, fault in zip(places, faults, strict=True):
        path = f"{screen.harmless(fault.path)}   " if fault.path else ""
        screen.complain(f"  {place:<{width}}  {path}{screen.harmless(fault.sentence)}")
        if 0 < fault.line <= len(lines):
            _point(lines[fault.line - 1], fault.column)


def _point(line: str, column: int) -> None:
    """The line and a caret beneath; of a long one, the part around the place."""
    begin = max(0, column - 60)
    before = screen.harmless(line[begin : column - 1].replace("\t", " "))
    rest = screen.harmless(line[column - 1 : begin + 100].replace("\t", " "))
    screen.complain(f"        {before}{rest}")
    screen.complain(f"        {' ' * len(before)}^")


def _of_json(error: Json) -> ReportedProblem:
    message, hint = str(error.get("message", "")), str(error.get("hint") or "")
    joint = ": " if hint.startswith("write ") else "; "
    sentence = f"{message}{joint}{hint}" if hint else message
    return ReportedProblem(
        int(error.get("line") or 1), int(error.get("column") or 1), str(error.get("path") or ""), sentence
    )
