"""Report of the problems in a task file: place, field, sentence; on a terminal also the line and a caret."""

from __future__ import annotations

from collections.abc import Sequence

from engine.cli import screen
from engine.client import ApiError, Json
from engine.jobspec.problems import Problem
from engine.wording.text import for_terminal


def from_api_error(error: ApiError) -> list[Problem]:
    """Return the problems that the API found."""
    return [_from_json(entry) for entry in error.errors]


def print_problems(title: str, text: bytes, problems: Sequence[Problem]) -> None:
    """Print all problems on standard error, in the order of the text."""
    screen.print_error(f"{title}: {len(problems)} problem{'s' * (len(problems) != 1)}")
    places = [f"{problem.line}:{problem.column}" for problem in problems]
    width = max(map(len, places), default=0)
    lines = text.decode("utf-8", "replace").splitlines() if screen.allows_escapes() else []
    for place, problem in zip(places, problems, strict=True):
        path = f"{for_terminal(problem.path)}   " if problem.path else ""
        screen.print_error(f"  {place:<{width}}  {path}{for_terminal(problem.sentence)}")
        if 0 < problem.line <= len(lines):
            _print_caret(lines[problem.line - 1], problem.column)


def _print_caret(line: str, column: int) -> None:
    """Print the line with a caret below the column; of a long line, only the part around the column."""
    begin = max(0, column - 60)
    before = for_terminal(line[begin : column - 1].replace("\t", " "))
    rest = for_terminal(line[column - 1 : begin + 100].replace("\t", " "))
    screen.print_error(f"        {before}{rest}")
    screen.print_error(f"        {' ' * len(before)}^")


def _from_json(entry: Json) -> Problem:
    return Problem(
        path=str(entry.get("path") or ""),
        message=str(entry.get("message", "")),
        line=int(entry.get("line") or 1),
        column=int(entry.get("column") or 1),
        hint=str(entry.get("hint") or ""),
    )
