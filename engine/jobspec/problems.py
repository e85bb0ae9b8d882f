"""What is wrong with a text, in words for its author: every problem at once, each with place and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.errors import FerrymanError
from engine.wording.text import quoted

#: Steps from the whole document to a value: keys and list indices.
Path = tuple[str | int, ...]
#: (line, column), both counted from 1; columns are characters.
Place = tuple[int, int]

#: More would help nobody, and a hostile text could earn thousands.
MOST_PROBLEMS = 100
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")


class Fault(str):
    """A message that carries its remedy: an ordinary text for marshmallow, with `hint` for us."""

    __slots__ = ("hint",)

    hint: str

    def __new__(cls, message: str, hint: str) -> Fault:
        """Make the message; `hint` says what to write instead."""
        said = super().__new__(cls, message)
        said.hint = hint
        return said


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `path` is like `mounts[0].source`, "" for the whole document."""

    path: str
    message: str
    #: Counted from 1; 1:1 when the text has no better place.
    line: int
    column: int
    #: What to do about it.
    hint: str

    @property
    def sentence(self) -> str:
        """Message and hint in one line, for a terminal."""
        joint = ": " if self.hint.startswith("write ") else "; "
        return f"{self.message}{joint}{self.hint}"

    def as_json(self) -> dict[str, str | int]:
        """The entry of `errors` in an application/problem+json answer."""
        return {
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }


class Invalid(FerrymanError):
    """A text that is no task. `problems` holds all that is wrong with it, in the order of the text.

    `malformed` is True when the text could not be read at all (HTTP 400), False when it was read and
    does not say a task that may run here (422).
    """

    def __init__(self, problems: Iterable[Problem], malformed: bool = False) -> None:
        found = sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column, p.path, p.message))
        self.problems: tuple[Problem, ...] = _bounded(found)
        self.malformed = malformed
        super().__init__("\n".join(f"{p.line}:{p.column} {p.path} {p.sentence}" for p in self.problems))

    def as_json(self) -> list[dict[str, str | int]]:
        """The list `errors` of an application/problem+json answer."""
        return [problem.as_json() for problem in self.problems]


def _bounded(found: list[Problem]) -> tuple[Problem, ...]:
    if len(found) <= MOST_PROBLEMS:
        return tuple(found)
    kept, rest = found[:MOST_PROBLEMS], len(found) - MOST_PROBLEMS
    last = kept[-1]
    more = Problem("", f"and {rest} more problems", last.line, last.column, "mend those above first")
    return (*kept, more)


def path_text(path: Path) -> str:
    """The path as people read it: `mounts[0].source`, `env["a b"]`, "" for the whole document."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{quoted(step)}]")
    return "".join(parts)


def place(path: Path, places: Mapping[Path, Place]) -> Place:
    """Where a problem is shown: at the key itself, or for what is missing at the nearest thing around it."""
    for length in range(len(path), -1, -1):
        if (found := places.get(path[:length])) is not None:
            return found
    return (1, 1)


def locate(path: Path, said: str, places: Mapping[Path, Place]) -> Problem:
    """A problem at its place; `said` carries its hint when it is a `Fault`."""
    line, column = place(path, places)
    hint = getattr(said, "hint", "") or "see the task format in the documentation"
    return Problem(path_text(path), str(said), line, column, hint)
