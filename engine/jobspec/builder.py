"""Plain values with their places, built without recursion from what a reader meets, within bounds.

Both readers (YAML, JSON) build through it, so both have the same bounds, refuse duplicate and non-text
keys alike, and keep the source text of numbers and booleans.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from engine.jobspec.problems import Fault, Invalid, Path, Place, Problem, locate, path_text
from engine.wording.text import quoted

MOST_DEPTH = 64
#: Far more than a task needs, read in a tenth of a second; jobs of many tasks will need more.
MOST_NODES = 10_000
#: Python refuses to read ints of more than 4,300 digits; nothing here needs more than these.
_MOST_DIGITS = 40
#: U+0000 is refused by PostgreSQL's text, lone surrogates by UTF-8: neither could be stored.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: JSON's numbers.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
#: YAML 1.2's core schema, but leading zeros make a text (`0755` is no decimal number to anybody).
_YAML_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_YAML_OTHER_NUMBERS = {
    ".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan,
}  # fmt: skip
_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number or boolean as it stands in the text: where a text is wanted, it means its source text."""

    text: str
    value: bool | int | float


def number(text: str, whole: bool) -> Scalar:
    """The scalar of a number's source text; beyond 40 digits its value is infinite, its text is kept."""
    if not whole:
        return Scalar(text, float(text))
    if len(text) > _MOST_DIGITS:
        return Scalar(text, -math.inf if text.startswith("-") else math.inf)
    return Scalar(text, int(text))


def plain_scalar(text: str) -> Scalar | str | None:
    """What an unquoted YAML scalar means: `yes`, `12:30`, `0755`, `1_000` and dates are texts here."""
    if text[:1].isalpha() or text[:1] in ("/", "~", ""):
        lower = text.lower()
        if lower in ("", "~", "null"):
            return None
        return Scalar(text, _TRUTHS[lower]) if lower in _TRUTHS else text
    found = _YAML_NUMBER.fullmatch(text)
    if found is not None:
        return number(text, whole=found[1] is None and found[2] is None)
    other = _YAML_OTHER_NUMBERS.get(text.lower())
    return text if other is None else Scalar(text, other)


class _Skipped:
    """The key of an entry that is thrown away: it was refused already."""


_SKIPPED = _Skipped()


@dataclass(slots=True)
class _Frame:
    container: dict[str, Any] | list[Any]
    path: Path
    is_map: bool
    key: str | _Skipped | None = None
    #: Path of the value that comes next in a map.
    next_path: Path = ()


class Builder:
    """Takes keys, values and containers in the order of the text; then holds value, places and problems."""

    def __init__(self) -> None:
        self.value: Any = None
        self.places: dict[Path, Place] = {}
        #: What was read but is refused: duplicate keys, keys that are no texts, texts that cannot be stored.
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._nodes = 0

    @property
    def wants_key(self) -> bool:
        """True when the next scalar is a map's key."""
        return (
            bool(self._frames)
            and isinstance(self._frames[-1].container, dict)
            and self._frames[-1].key is None
        )

    def open(self, container: dict[str, Any] | list[Any], at: Place) -> None:
        """Begin a map or list. Raises Invalid beyond the bounds, or where a key is wanted."""
        if self.wants_key:
            raise refused(
                "a key is a map or list",
                "write a text as key; {{ … }} is not supported yet",
                at,
                path_text(self._frames[-1].path),
            )
        if len(self._frames) >= MOST_DEPTH:
            raise refused(f"nested deeper than {MOST_DEPTH} levels", "write it flatter", at)
        path = self._attach(container, at)
        self._frames.append(_Frame(container, path, isinstance(container, dict)))

    def close(self) -> None:
        """End the innermost map or list."""
        self._frames.pop()

    def put(self, value: Scalar | str | None, at: Place) -> None:
        """Take a key or a scalar value, whichever is due."""
        if self.wants_key:
            self._key(value, at)
            return
        path = self._attach(value, at)
        if isinstance(value, str):
            self._check_text(value, path, "the text")

    def _key(self, value: Scalar | str | None, at: Place) -> None:
        self._count(at)
        frame = self._frames[-1]
        if not isinstance(value, str):
            shown = "null" if value is None else value.text
            said = Fault(f"{quoted(shown)} is no text, and keys are texts", "write it in quotes")
            self._refuse_key(frame, shown, said, at)
            return
        path = (*frame.path, value)
        if value in frame.container:
            line = self.places[path][0]
            said = Fault(f"the key {quoted(value)} is here twice, first on line {line}", "remove one of them")
            self._refuse_key(frame, value, said, at)
            return
        frame.key, frame.next_path = value, path
        self.places[path] = at
        self._check_text(value, path, "the key")

    def _refuse_key(self, frame: _Frame, shown: str, said: Fault, at: Place) -> None:
        frame.key, frame.next_path = _SKIPPED, (*frame.path, shown)
        self.problems.append(locate(frame.next_path, said, {(): at}))

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
            # Below a refused key the paths may be those of its twin: the first one stays.
            self.places.setdefault(path, at)
            return path
        key, frame.key = frame.key, None
        if isinstance(key, str):
            frame.container[key] = value
        return frame.next_path

    def _count(self, at: Place) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise refused(f"more than {MOST_NODES} keys and values", "write a smaller task", at)

    def _check_text(self, text: str, path: Path, what: str) -> None:
        found = _UNSTORABLE.search(text)
        if found is not None:
            code = f"U+{ord(found[0]):04X}"
            said = Fault(
                f"{what} holds the character {code}, which cannot be stored", "remove it, or encode it"
            )
            self.problems.append(locate(path, said, self.places))


def refused(message: str, hint: str, at: Place, path: str = "") -> Invalid:
    """The error of a text that cannot be read, or is not read any further."""
    return Invalid([Problem(path, message, at[0], at[1], hint)], malformed=True)
