"""Text that somebody else chose, made safe to show: a terminal obeys it no more, and a reader sees all of it."""

from __future__ import annotations

import json
import re
import unicodedata

#: Control, format (bidirectional, zero-width), surrogate, and the two separators that end a line.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Zero-width non-joiner and joiner: letters, where they stand between letters that they shape.
_JOINERS = "\u200c\u200d"
#: Hebrew, and after it the scripts with joining letters; in Latin, Greek and Cyrillic a joiner only hides.
_FIRST_JOINING = 0x590
#: Escape sequences of terminals (ECMA-48): control sequences, operating system commands, and the short ones.
_TERMINAL_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def unsafe_character(text: str) -> str | None:
    """Return the first control, bidirectional or invisible character of the text, None when it has none."""
    if text.isprintable():
        return None
    return next((char for at, char in enumerate(text) if _is_unsafe(text, at)), None)


def _is_unsafe(text: str, at: int) -> bool:
    char = text[at]
    if char.isprintable() or unicodedata.category(char) not in _UNSAFE:
        return False
    return not (
        char in _JOINERS and 0 < at < len(text) - 1 and _can_join(text[at - 1]) and _can_join(text[at + 1])
    )


def _can_join(char: str) -> bool:
    """Return whether a joiner beside this character is spelling: in Arabic, Persian, Indic scripts, and emoji."""
    category = unicodedata.category(char)
    return (ord(char) >= _FIRST_JOINING and category[0] in "LM") or category in ("So", "Sk")


def harmless(text: object, *, keep: str = "", instead: str | None = None) -> str:
    """Return the text with each control, bidirectional or invisible character written as `\\x1b` or `\\u202e`.

    With `instead`, that text replaces each of them. Characters in `keep` stay.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        char if char in keep or not _is_unsafe(shown, at) else _spelled(char) if instead is None else instead
        for at, char in enumerate(shown)
    )


def for_json(document: str) -> str:
    """Return a JSON document with its control, bidirectional and invisible characters escaped; it means the same."""
    return "".join(
        json.dumps(char)[1:-1] if char != "\n" and _is_unsafe(document, at) else char
        for at, char in enumerate(document)
    )


def for_terminal(text: object) -> str:
    """Return the text as one line that a terminal shows and does not obey: escape sequences are removed."""
    return harmless(_TERMINAL_ESCAPES.sub("", str(text)))


def last_drawn(line: str) -> str:
    """Return a line of a log as a terminal would show it last: after the last `\\r`, without escape sequences."""
    return _TERMINAL_ESCAPES.sub("", line.rstrip("\r\n").rpartition("\r")[2])


def shorten(text: str, most: int = 60) -> str:
    """Return the text with at most `most` characters; `…` stands for what is left out."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def foreign_words(text: object, most: int = 300) -> str:
    """Return what another program wrote as one harmless line of at most `most` characters."""
    return shorten(harmless(" ".join(str(text).split())), most)


def quoted(value: object) -> str:
    """Return a user's value in double quotes: harmless, and at most 60 characters of it."""
    return f'"{harmless(shorten(str(value)))}"'


def _spelled(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return _NAMED.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
