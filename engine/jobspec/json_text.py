"""Reader of JSON text: values with places, strictly by the grammar, with the same bounds as YAML.

The standard library's reader keeps no places, accepts duplicate keys and NaN, and runs out of stack; only its string
scanner is used here.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, but not in the stubs

from engine.jobspec.builder import MOST_NODES, NUMBER, Builder, Scalar, number, unreadable
from engine.jobspec.problems import Invalid, Place
from engine.jobspec.text_lines import LineCounter

_SPACE = re.compile(r"[ \t\r\n]*")
_WORDS: dict[str, Scalar | None] = {
    "true": Scalar("true", True),
    "false": Scalar("false", False),
    "null": None,
}
_WORD = re.compile(r"true|false|null")


def read(text: str, most_nodes: int = MOST_NODES) -> Builder:
    """Read the document. Raises Invalid (malformed) when it is not JSON."""
    return _Reader(text, most_nodes).read()


class _Reader:
    def __init__(self, text: str, most_nodes: int) -> None:
        self.text = text
        self.tree = Builder(most_nodes)
        self.at = 0
        self.ends: list[str] = []
        self.lines = LineCounter(text)

    def read(self) -> Builder:
        """Read one value after another; `ends` has the closing bracket of each container that is open."""
        self._value()
        while self.ends:
            char = self._peek()
            if char == self.ends[-1]:
                self._close()
            elif char == ",":
                self.at += 1
                self._entry()
            else:
                raise self._wrong(f"expected , or {self.ends[-1]}")
        if self._peek():
            raise self._wrong("found text after the end of the document")
        return self.tree

    def _entry(self) -> None:
        if self.ends[-1] == "}":
            if self._peek() != '"':
                raise self._wrong("expected a key in double quotes")
            self._string()
            if self._peek() != ":":
                raise self._wrong("expected : after the key")
            self.at += 1
        self._value()

    def _value(self) -> None:
        char = self._peek()
        if char in ("{", "["):
            self._open(char)
        elif char == '"':
            self._string()
        else:
            self._literal()

    def _open(self, char: str) -> None:
        self.tree.open({} if char == "{" else [], self._place())
        self.ends.append("}" if char == "{" else "]")
        self.at += 1
        # The loop in `read` closes an empty container.
        if self._peek() != self.ends[-1]:
            self._entry()

    def _close(self) -> None:
        self.at += 1
        self.ends.pop()
        self.tree.close()

    def _string(self) -> None:
        place = self._place()
        try:
            value, self.at = scanstring(self.text, self.at + 1, True)
        except json.JSONDecodeError as exc:
            self.at = exc.pos
            raise self._wrong(
                f"invalid string, {exc.msg.lower().removesuffix(' at').removesuffix(' starting')}"
            ) from exc
        self.tree.put(value, place)

    def _literal(self) -> None:
        place = self._place()
        if (word := _WORD.match(self.text, self.at)) is not None:
            self.tree.put(_WORDS[word[0]], place)
            self.at = word.end()
        elif (match := NUMBER.match(self.text, self.at)) is not None:
            self.tree.put(number(match[0], whole=match[1] is None and match[2] is None), place)
            self.at = match.end()
        else:
            raise self._wrong("expected a value")

    def _peek(self) -> str:
        """Skip white space; return the next character, "" at the end."""
        char = self.text[self.at : self.at + 1]
        if char and char in " \t\r\n" and (space := _SPACE.match(self.text, self.at)) is not None:
            self.at = space.end()
            char = self.text[self.at : self.at + 1]
        return char

    def _place(self) -> Place:
        return self.lines.place(self.at)

    def _wrong(self, what: str) -> Invalid:
        end = "" if self.text[self.at : self.at + 1] else ", but the text ends here"
        return unreadable(
            f"invalid JSON: {what}{end}", "check the quotes, commas and brackets here", self._place()
        )
