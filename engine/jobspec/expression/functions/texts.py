"""Functions on texts. What a result needs is counted before it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.functions.table import Table
from engine.jobspec.expression.tokens import BLANKS
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import Value, words_for

TEXTS = Table()
GROUP = "Texts"
#: Letters that are compared with one character in the time of one step.
_LETTERS_PER_STEP = 4096
_HASHED_LETTERS_PER_STEP = 64


@TEXTS.add(GROUP, "upper(text: text) -> text", "Capital letters, letter by letter.", 'upper("abc")')
def _upper(tools: Tools, text: str) -> str:
    # A longer text has letters, such as ß, that would become several.
    upper = text.upper()
    return tools.meter.made(upper if len(upper) == len(text) else _by_letter(tools, text, _upper_letter))


def _by_letter(tools: Tools, text: str, change: Callable[[str], str]) -> str:
    tools.meter.spend(len(text))
    return "".join(map(change, text))


def _upper_letter(letter: str) -> str:
    """Return the capital letter; the letter itself where several would be needed."""
    return next((other for other in (letter.upper(), letter.title()) if len(other) == 1), letter)


@TEXTS.add(GROUP, "lower(text: text) -> text", "Small letters, letter by letter.", 'lower("ABC")')
def _lower(tools: Tools, text: str) -> str:
    # Python looks at the letters around a sigma, and makes two of a capital i with a dot.
    is_plain = "Σ" not in text and "İ" not in text
    return tools.meter.made(
        text.lower() if is_plain else _by_letter(tools, text, lambda char: char.lower()[0])
    )


@TEXTS.add(
    GROUP,
    "trim(text: text, characters: text?) -> text",
    "The text without the blanks, or without those characters, at both ends.",
    'trim("  a b  ")',
)
def _trim(tools: Tools, text: str, characters: str = BLANKS) -> str:
    different = "".join(set(characters))
    tools.meter.read(characters)
    # Python may look through all characters for each letter of the text.
    tools.meter.spend(1 + len(text) * len(different) // _LETTERS_PER_STEP)
    return text.strip(different) if different else text


@TEXTS.add(
    GROUP,
    "trimPrefix(text: text, prefix: text?) -> text",
    "The text without that beginning (a blank), if it has it.",
    'trimPrefix("foobar", "foo")',
)
def _trim_prefix(tools: Tools, text: str, prefix: str = " ") -> str:
    tools.meter.read(text)
    return text.removeprefix(prefix)


@TEXTS.add(
    GROUP,
    "trimSuffix(text: text, suffix: text?) -> text",
    "The text without that end (a blank), if it has it.",
    'trimSuffix("a.tar.gz", ".gz")',
)
def _trim_suffix(tools: Tools, text: str, suffix: str = " ") -> str:
    tools.meter.read(text)
    return text.removesuffix(suffix)


@TEXTS.add(
    GROUP,
    "split(text: text, separator: text, limit: int?) -> [text]",
    "The pieces between the separators, at most `limit`; with an empty separator the letters.",
    'split("a,b,c", ",")',
)
def _split(tools: Tools, text: str, separator: str, limit: int = -1) -> list[str]:
    tools.meter.read(text)
    if limit == 0:
        return []
    if not separator:
        count = len(text) if limit < 0 else min(limit, len(text))
        tools.meter.copy(count)
        return [*text[: max(0, count - 1)], *([text[count - 1 :]] if count else [])]
    count = text.count(separator) + 1
    tools.meter.copy(count if limit < 0 else min(limit, count))
    pieces: list[str] = text.split(separator, limit - 1 if limit > 0 else -1)
    return pieces


@TEXTS.add(
    GROUP,
    "splitAfter(text: text, separator: text, limit: int?) -> [text]",
    "As split; each piece keeps the separator after it.",
    'splitAfter("a,b,c", ",")',
)
def _split_after(tools: Tools, text: str, separator: str, limit: int = -1) -> list[str]:
    pieces = _split(tools, text, separator, limit)
    return [piece + separator for piece in pieces[:-1]] + pieces[-1:]


@TEXTS.add(
    GROUP,
    "replace(text: text, old: text, new: text, count: int?) -> text",
    "The text with `new` in place of `old`, everywhere or `count` times; an empty `old` is between all letters.",
    'replace("a-b-c", "-", "+")',
)
def _replace(tools: Tools, text: str, old: str, new: str, count: int = -1) -> str:
    tools.meter.read(text)
    places = text.count(old)
    if 0 <= count < places:
        places = count
    tools.meter.text(len(text) + places * (len(new) - len(old)))
    return tools.meter.made(text.replace(old, new, count))


@TEXTS.add(GROUP, "repeat(text: text, count: whole) -> text", "The text so many times.", 'repeat("ab", 3)')
def _repeat(tools: Tools, text: str, count: int) -> str:
    if count < 0:
        fail(Reason.VALUE, "expected a count of 0 or more for repeat(), found a negative one")
    tools.meter.text(len(text) * count)
    return tools.meter.made(text * count)


@TEXTS.add(
    GROUP,
    "join(list: list, separator: text?) -> text",
    "The texts of a list as one, with the separator between them.",
    'join(["a", "b"], ", ")',
)
def _join(tools: Tools, items: list[Value], separator: str = "") -> str:
    tools.meter.look(items)
    length = len(separator) * max(0, len(items) - 1)
    for item in items:
        if not isinstance(item, str):
            fail(
                Reason.TYPE,
                f"expected a list of texts for join(), found {words_for(item)} in it; see string()",
            )
        length += len(item)
    tools.meter.text(length)
    return tools.meter.made(separator.join(items))


@TEXTS.add(
    GROUP,
    "indexOf(text: text, part: text) -> int",
    "The place of the first `part`, counted in characters from 0; -1 without one.",
    'indexOf("foobar", "bar")',
)
def _index_of(tools: Tools, text: str, part: str) -> int:
    tools.meter.read(text)
    return text.find(part)


@TEXTS.add(
    GROUP,
    "lastIndexOf(text: text, part: text) -> int",
    "The place of the last `part`; -1 without one.",
    'lastIndexOf("a/b/c", "/")',
)
def _last_index_of(tools: Tools, text: str, part: str) -> int:
    tools.meter.read(text)
    # Python's rfind takes the product of both lengths at worst, find their sum.
    tools.meter.read(text)
    place = text[::-1].find(part[::-1])
    return place if place < 0 else len(text) - place - len(part)


@TEXTS.add(
    GROUP,
    "hasPrefix(text: text, prefix: text) -> bool",
    "Whether the text begins so; as `startsWith`.",
    'hasPrefix("foobar", "foo")',
)
def _has_prefix(tools: Tools, text: str, prefix: str) -> bool:
    tools.meter.read(prefix)
    return text.startswith(prefix)


@TEXTS.add(
    GROUP,
    "hasSuffix(text: text, suffix: text) -> bool",
    "Whether the text ends so; as `endsWith`.",
    'hasSuffix("a.mp4", ".mp4")',
)
def _has_suffix(tools: Tools, text: str, suffix: str) -> bool:
    tools.meter.read(suffix)
    return text.endswith(suffix)


@TEXTS.add(
    GROUP,
    "sha256(text: text) -> text",
    "The SHA-256 of the text's UTF-8, in 64 hexadecimal digits. Tork does not have it.",
    'sha256("abc")',
)
def _sha256(tools: Tools, text: str) -> str:
    tools.meter.spend(1 + len(text) // _HASHED_LETTERS_PER_STEP)
    return hashlib.sha256(text.encode()).hexdigest()
