"""JSON text -> values with places, strictly by the grammar, with the same bounds as YAML.

The standard library's reader keeps no places, takes the last of two equal keys and NaN, and runs out of
stack; only its string scanner is used here.
"""

from __future__ import annotations

import bisect
import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # public by its name, not in the stubs

from engine.jobspec.builder import NUMBER, Builder, Scalar, number, refused
from engine.jobspec.problems import Invalid, Place

_SPACE = re.compile(r"[ \t\r\n]*")
_WORDS: dict[str, Scalar | None] = {
    "true": Scalar("true", True),
    "false": Scalar("false", False),
    "null": None,
}
_WORD = re.compile(r"true|false|null")


def read(text: str) -> Builder:
    """The document's tree. Raises Invalid (malformed) at what is not JSON."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = Builder()
        self.at = 0
        self.ends: list[str] = []
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def read(self) -> Builder:
        """One value after another, with the brackets still open in `ends`."""
        self._value()
        while self.ends:
            sign = self._peek()
            if sign == self.ends[-1]:
                self._close()
            elif sign == ",":
                self.at += 1
                self._entry()
            else:
                raise self._wrong(f"expected , or {self.ends[-1]}")
        if self._peek():
            raise self._wrong("there is more text after the end")
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
        sign = self._peek()
        if sign in ("{", "["):
            self._open(sign)
        elif sign == '"':
            self._string()
        else:
            self._literal()

    def _open(self, sign: str) -> None:
        self.tree.open({} if sign == "{" else [], self._place())
        self.ends.append("}" if sign == "{" else "]")
        self.at += 1
        # An empty one is closed by the loop in `read`; else its first entry follows here.
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
            raise self._wrong(f"the text in quotes is wrong: {exc.msg.lower()}") from exc
        self.tree.put(value, place)

    def _literal(self) -> None:
        place = self._place()
        if (word := _WORD.match(self.text, self.at)) is not None:
            self.tree.put(_WORDS[word[0]], place)
            self.at = word.end()
        elif (found := NUMBER.match(self.text, self.at)) is not None:
            self.tree.put(number(found[0], whole=found[1] is None and found[2] is None), place)
            self.at = found.end()
        else:
            raise self._wrong("expected a value")

    def _peek(self) -> str:
        """The next sign that is no space, "" at the end."""
        sign = self.text[self.at : self.at + 1]
        if sign and sign in " \t\r\n" and (found := _SPACE.match(self.text, self.at)) is not None:
            self.at = found.end()
            sign = self.text[self.at : self.at + 1]
        return sign

    def _place(self) -> Place:
        line = bisect.bisect_right(self.starts, self.at)
        return (line, self.at - self.starts[line - 1] + 1)

    def _wrong(self, what: str) -> Invalid:
        end = "" if self.text[self.at : self.at + 1] else ", but the text ends here"
        return refused(
            f"this is no JSON: {what}{end}", "look at the quotes, commas and brackets here", self._place()
        )
