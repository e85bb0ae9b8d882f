"""Builder of plain values with their places, without recursion and within bounds.

Both readers (YAML, JSON) use it. So both have the same bounds, refuse duplicate keys and keys that are not text, and
keep the source text of numbers and booleans.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from engine.jobspec.problems import Fault, Invalid, Path, Place, Problem, path_text, problem_at
from engine.wording.text import quoted

MOST_DEPTH = 64
#: Far more than a task needs, and read within 0.1 s.
MOST_NODES = 10_000
#: Python refuses to read integers of more than 4,300 digits; no field needs more digits than this.
_MOST_DIGITS = 40
#: PostgreSQL's text refuses U+0000, UTF-8 refuses lone surrogates: neither can be stored.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: Numbers of JSON.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
#: Numbers of YAML 1.2's core schema, except that a leading zero makes a text (`0755` is not meant as decimal).
_YAML_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_YAML_OTHER_NUMBERS = {
    ".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan,
}  # fmt: skip
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """Number or boolean with its source text, which is its value in fields that take a text."""

    text: str
    value: bool | int | float


def number(text: str, whole: bool) -> Scalar:
    """Return the scalar for a number's source text; an integer of more than 40 digits has an infinite value."""
    if not whole:
        return Scalar(text, float(text))
    if len(text) > _MOST_DIGITS:
        return Scalar(text, -math.inf if text.startswith("-") else math.inf)
    return Scalar(text, int(text))


def plain_scalar(text: str) -> Scalar | str | None:
    """Return the value of an unquoted YAML scalar; `yes`, `12:30`, `0755`, `1_000` and dates are texts here."""
    if text[:1].isalpha() or text[:1] in ("/", "~", ""):
        lower = text.lower()
        if lower in ("", "~", "null"):
            return None
        return Scalar(text, _BOOLEANS[lower]) if lower in _BOOLEANS else text
    match = _YAML_NUMBER.fullmatch(text)
    if match is not None:
        return number(text, whole=match[1] is None and match[2] is None)
    other = _YAML_OTHER_NUMBERS.get(text.lower())
    return text if other is None else Scalar(text, other)


class _RefusedKey:
    """Marker in place of a key that was refused: its value is read and dropped."""


_REFUSED_KEY = _RefusedKey()


@dataclass(slots=True)
class _Frame:
    container: dict[str, Any] | list[Any]
    path: Path
    key: str | _RefusedKey | None = None
    #: Path of the next value in a map.
    next_path: Path = ()


class Builder:
    """Builder that takes keys, values and containers in the order of the text."""

    def __init__(self, most_nodes: int = MOST_NODES) -> None:
        self._most_nodes = most_nodes
        self.value: Any = None
        self.places: dict[Path, Place] = {}
        #: Problems that do not stop the reading: duplicate keys, keys that are not text, texts that cannot be stored.
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._nodes = 0

    @property
    def wants_key(self) -> bool:
        """Return whether the next scalar is the key of a map."""
        return (
            bool(self._frames)
            and isinstance(self._frames[-1].container, dict)
            and self._frames[-1].key is None
        )

    def open(self, container: dict[str, Any] | list[Any], at: Place) -> None:
        """Begin a map or list. Raises Invalid beyond the bounds, or where a key must be."""
        if self.wants_key:
            raise unreadable(
                "expected a text as key, found a map or list",
                "write a text as key; {{ … }} is not supported yet",
                at,
                path_text(self._frames[-1].path),
            )
        if len(self._frames) >= MOST_DEPTH:
            raise unreadable(f"nested deeper than {MOST_DEPTH} levels", "use fewer levels", at)
        self._frames.append(_Frame(container, self._attach(container, at)))

    def close(self) -> None:
        """End the innermost map or list."""
        self._frames.pop()

    def put(self, value: Scalar | str | None, at: Place) -> None:
        """Take a scalar: a key where one must be, else a value."""
        if self.wants_key:
            self._put_key(value, at)
            return
        path = self._attach(value, at)
        if isinstance(value, str):
            self._check_text(value, path, "the text")

    def _put_key(self, value: Scalar | str | None, at: Place) -> None:
        self._count(at)
        frame = self._frames[-1]
        if not isinstance(value, str):
            shown = "null" if value is None else value.text
            fault = Fault(f"the key {quoted(shown)} is not a text", "put it in quotes")
            self._refuse_key(frame, shown, fault, at)
            return
        path = (*frame.path, value)
        if value in frame.container:
            line = self.places[path][0]
            fault = Fault(f"duplicate key {quoted(value)}, first on line {line}", "remove one of them")
            self._refuse_key(frame, value, fault, at)
            return
        frame.key, frame.next_path = value, path
        self.places[path] = at
        self._check_text(value, path, "the key")

    def _refuse_key(self, frame: _Frame, shown: str, fault: Fault, at: Place) -> None:
        frame.key, frame.next_path = _REFUSED_KEY, (*frame.path, shown)
        self.problems.append(problem_at(frame.next_path, fault, {(): at}))

    def _attach(self, value: Any, at: Place) -> Path:
        self._count(at)
        if not self._frames:
            self.value = value
            self.places[()] = at
            return ()
        frame = self._frames[-1]
        if not isinstance(frame.container, dict):
            path = (*frame.path, len(frame.container))
            frame.container.append(value)
            # Below a duplicate key a path may be known already: the place of the first one stays.
            self.places.setdefault(path, at)
            return path
        key, frame.key = frame.key, None
        if isinstance(key, str):
            frame.container[key] = value
        return frame.next_path

    def _count(self, at: Place) -> None:
        self._nodes += 1
        if self._nodes > self._most_nodes:
            raise unreadable(f"more than {self._most_nodes} keys and values", "make the file smaller", at)

    def _check_text(self, text: str, path: Path, what: str) -> None:
        match = _UNSTORABLE.search(text)
        if match is not None:
            character = f"U+{ord(match[0]):04X}"
            fault = Fault(f"{what} contains {character}, which cannot be stored", "remove it, or encode it")
            self.problems.append(problem_at(path, fault, self.places))


def unreadable(message: str, hint: str, at: Place, path: str = "") -> Invalid:
    """Return the error for a text that cannot be read, or not beyond this place."""
    return Invalid([Problem(path, message, at[0], at[1], hint)], malformed=True)
