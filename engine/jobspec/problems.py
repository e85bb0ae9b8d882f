"""Faults and problems: errors in a task's text, in words for its author.

A fault is the sentence and hint that a rule returns; a problem is a fault at its line and column. All problems of a
text are reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from engine.errors import FerrymanError
from engine.wording.text import quoted

#: Steps from the whole document to a value: keys and list indices.
Path = tuple[str | int, ...]
#: (line, column), both counted from 1, the column in characters.
Place = tuple[int, int]

#: Nobody reads more, and a hostile text could have thousands.
MOST_PROBLEMS = 100
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")


class Fault(str):
    """Sentence that says what is wrong, with a hint on what to write instead.

    For marshmallow, which collects faults, it is an ordinary message.
    """

    __slots__ = ("hint",)

    hint: str

    def __new__(cls, message: str, hint: str) -> Fault:
        """Create a fault."""
        fault = super().__new__(cls, message)
        fault.hint = hint
        return fault


@dataclass(frozen=True)
class Problem:
    """Fault at a place in the text. `path` is like `mounts[0].source`, "" for the whole document."""

    path: str
    message: str
    #: Counted from 1; 1:1 when no better place is known.
    line: int
    column: int
    #: Remedy: what the author can write instead.
    hint: str

    @property
    def sentence(self) -> str:
        """Message and hint in one line, for a terminal."""
        joint = ": " if self.hint.startswith("write ") and ": " not in self.message else "; "
        return f"{self.message}{joint}{self.hint}"

    def as_json(self) -> dict[str, str | int]:
        """Return the entry for `errors` in an application/problem+json answer."""
        return asdict(self)


class Invalid(FerrymanError):
    """Error for a text that is not a valid task, with all its `problems` in the order of the text.

    `malformed` is True when the text could not be read (HTTP 400), False when it was read and is not a task that
    may run here (422).
    """

    def __init__(self, problems: Iterable[Problem], malformed: bool = False) -> None:
        ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column, p.path, p.message))
        self.problems: tuple[Problem, ...] = _bounded(ordered)
        self.malformed = malformed
        super().__init__("\n".join(f"{p.line}:{p.column} {p.path} {p.sentence}" for p in self.problems))

    def as_json(self) -> list[dict[str, str | int]]:
        """Return the list `errors` of an application/problem+json answer."""
        return [problem.as_json() for problem in self.problems]


def _bounded(problems: list[Problem]) -> tuple[Problem, ...]:
    shown, rest = problems[:MOST_PROBLEMS], len(problems) - MOST_PROBLEMS
    if rest <= 0:
        return tuple(shown)
    more = Problem("", f"and {rest} more problems", shown[-1].line, shown[-1].column, "fix those above first")
    return (*shown, more)


def path_text(path: Path) -> str:
    """Return the path for people: `mounts[0].source`, `env["a b"]`, "" for the whole document."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{quoted(step)}]")
    return "".join(parts)


def problem_at(path: Path, fault: str, places: Mapping[Path, Place]) -> Problem:
    """Return the fault as a problem at the place of its key; for a missing key, at the nearest enclosing value.

    A message of marshmallow's own, which has no hint, gets a general one.
    """
    enclosing = (path[:length] for length in range(len(path), -1, -1))
    line, column = next((places[known] for known in enclosing if known in places), (1, 1))
    hint = getattr(fault, "hint", "") or "see the task format in the documentation"
    return Problem(path_text(path), str(fault), line, column, hint)
