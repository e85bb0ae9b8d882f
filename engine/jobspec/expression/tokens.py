"""Tokens of an expression: numbers, texts, names, operators and brackets, each at its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.jobspec.expression.bounds import GREATEST_INTEGER
from engine.jobspec.expression.errors import Reason, fail

#: The white space of Unicode, without the control characters that Python also takes for it.
BLANKS = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
#: Words that are operators; they may still be keys after a point.
WORDS = frozenset(
    ["in", "or", "and", "matches", "contains", "startsWith", "endsWith", "not", "let", "if", "else"]
)

_SPACE = re.compile(rf"[{BLANKS}]+")
_NAME = re.compile(r"[^\W\d]\w*|\$\w*")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]*|0[bB][01_]*|0[oO][0-7_]*|"
    r"(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]*)?"
)
_OPERATOR = re.compile(r"\?\?|\?\.|\*\*|&&|\|\||==|!=|<=|>=|\.\.|::|[-+*/%^!<>|?:;,.#=&]")
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,8})\}|U([0-9a-fA-F]{8}))"
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BASES = {"0x": 16, "0b": 2, "0o": 8}


@dataclass(frozen=True, slots=True)
class Token:
    """Piece of an expression. `kind` is number, text, name, operator, bracket or end."""

    kind: str
    text: str
    at: int
    value: str | int | float | None = None

    def described(self) -> str:
        """Return the token for a message: its text where that is short, never the content of a text."""
        if self.kind == "end":
            return "the end"
        return "a text" if self.kind == "text" else f"`{self.text[:20]}`"


def tokens(source: str, start: int = 0) -> Iterator[Token]:
    """Yield the tokens from that place on, the last of which is the end. Raises ExpressionError where it stops."""
    at = start
    while (at := _after_blanks(source, at)) < len(source):
        token, at = _token(source, at)
        yield token
    yield Token("end", "", len(source))


def _after_blanks(source: str, at: int) -> int:
    """Return the place after white space and comments."""
    while True:
        if match := _SPACE.match(source, at):
            at = match.end()
        if source.startswith("//", at):
            end = source.find("\n", at)
            at = len(source) if end < 0 else end
        elif source.startswith("/*", at):
            end = source.find("*/", at + 2)
            if end < 0:
                fail(Reason.SYNTAX, "expected */ at the end of the comment, found the end", at)
            at = end + 2
        elif not match:
            return at


def _token(source: str, at: int) -> tuple[Token, int]:
    char = source[at]
    if char in "'\"":
        return _quoted(source, at)
    if char == "`":
        return _raw(source, at)
    if match := _NUMBER.match(source, at):
        return _number(source, at, match.end())
    if match := _NAME.match(source, at):
        kind = "operator" if match[0] in WORDS else "name"
        return Token(kind, match[0], at), match.end()
    if char in "()[]{}":
        return Token("bracket", char, at), at + 1
    if match := _OPERATOR.match(source, at):
        return Token("operator", match[0], at), match.end()
    fail(Reason.SYNTAX, f"expected a value or an operator, found the character U+{ord(char):04X}", at)


def _number(source: str, at: int, end: int) -> tuple[Token, int]:
    written = source[at:end]
    if end < len(source) and (source[end].isalnum() or source[end] in "_$"):
        fail(Reason.SYNTAX, "expected the number to end here, found a letter or digit", end)
    digits, base = written.replace("_", ""), _BASES.get(written[:2].lower())
    value: int | float
    try:
        if base is not None:
            if source.startswith(".", end) and not source.startswith("..", end):
                fail(Reason.SYNTAX, "expected an integer, found a decimal point", end)
            value = int(digits[2:], base)
        elif digits.isdigit():
            value = int(digits)
        else:
            value = float(digits)
    except ValueError:
        fail(Reason.SYNTAX, "expected digits in the number, found none", end)
    if isinstance(value, float) and math.isinf(value):
        fail(Reason.SYNTAX, "expected a number that a float can hold, found a larger one", at)
    if isinstance(value, int) and value > GREATEST_INTEGER:
        fail(
            Reason.SYNTAX, "expected an integer of 64 bits, found a larger one; write a point for a float", at
        )
    return Token("number", written, at, value), end


def _raw(source: str, at: int) -> tuple[Token, int]:
    """Read a text in backticks: nothing is escaped, and two backticks are one."""
    end = at + 1
    while True:
        end = source.find("`", end)
        if end < 0:
            fail(Reason.SYNTAX, "expected a backtick at the end of the text, found the end", at)
        if not source.startswith("``", end):
            break
        end += 2
    return Token("text", source[at : end + 1], at, source[at + 1 : end].replace("``", "`")), end + 1


def _quoted(source: str, at: int) -> tuple[Token, int]:
    quote, end, parts = source[at], at + 1, list[str]()
    while True:
        char = source[end : end + 1]
        if char == quote:
            return Token("text", source[at : end + 1], at, "".join(parts)), end + 1
        if char in ("", "\n"):
            end_of = "the end" if not char else "the end of the line; use backticks for several lines"
            fail(Reason.SYNTAX, f"expected {quote} at the end of the text, found {end_of}", at)
        if char == "\\":
            char, end = _escaped(source, end, quote)
        else:
            end += 1
        parts.append(char)


def _escaped(source: str, at: int, quote: str) -> tuple[str, int]:
    match = _ESCAPE.match(source, at)
    if match is None or (match[1] in ("'", '"') and match[1] != quote):
        fail(
            Reason.SYNTAX,
            r"expected an escape such as \n, \\ or \u00e9, found another; backticks need none",
            at,
        )
    if match[1]:
        return _SIMPLE.get(match[1], match[1]), match.end()
    if match[3]:
        code = int(match[3], 8)
    else:
        code = int(next(digits for digits in match.group(2, 4, 5, 6) if digits), 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        fail(Reason.SYNTAX, f"expected the code of a character, found U+{code:04X}", at)
    return chr(code), match.end()
