"""Bytes of YAML or JSON -> plain values with line and column, within bounds: no input ends a process.

Whatever is wrong comes out as `Invalid`; nothing else is raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.jobspec import json_text, yaml_text
from engine.jobspec.builder import Scalar, refused
from engine.jobspec.problems import Path, Place, Problem

__all__ = ["MOST_BYTES", "Document", "Media", "Scalar", "load"]

Media = Literal["yaml", "json"]
#: The default bound of a text; the API's own is `body_bytes`.
MOST_BYTES = 1 << 20

#: What no text file holds: controls beside tab, line feed and carriage return, and non-characters.
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


@dataclass(frozen=True)
class Document:
    """A text that was read. Numbers and booleans in `value` are `Scalar`s, which keep their source text."""

    value: Any
    #: Place of each key, of each item of a list, and of the whole at ().
    places: Mapping[Path, Place]
    #: Wrong, though it could be read: duplicate keys, keys that are no texts, texts that cannot be stored.
    #: A caller reports them beside its own.
    problems: tuple[Problem, ...] = ()


def load(text: bytes, media: Media, most_bytes: int = MOST_BYTES) -> Document:
    """Read a text of at most `most_bytes` bytes.

    Raises Invalid, `malformed`, when it is empty, too large, no UTF-8, no YAML or JSON, nested deeper than 64
    levels, longer than 10,000 keys and values, or holds aliases, anchors, tags or a second document.
    """
    decoded = _decode(text, most_bytes)
    tree = yaml_text.read(decoded) if media == "yaml" else json_text.read(decoded)
    return Document(tree.value, tree.places, tuple(tree.problems))


def _decode(text: bytes, most_bytes: int) -> str:
    if not text.strip():
        raise refused("the text is empty", "send the file with curl's --data-binary @file", (1, 1))
    if len(text) > most_bytes:
        raise refused(
            f"the text has {len(text)} bytes, at most {most_bytes} are read", "make it smaller", (1, 1)
        )
    if text.startswith(_UTF16_OR_32):
        raise refused("the text is in UTF-16 or UTF-32", "save the file as UTF-8", (1, 1))
    try:
        decoded = text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        before = text[: exc.start].decode("utf-8").removeprefix("\ufeff")
        raise refused("here is a byte that is not UTF-8", "save the file as UTF-8", _end_of(before)) from exc
    found = _CONTROL.search(decoded)
    if found is not None:
        code = f"U+{ord(found[0]):04X}"
        at = _end_of(decoded[: found.start()])
        raise refused(f"here is the control character {code}", "remove it, or write it as an escape", at)
    return decoded


def _end_of(before: str) -> Place:
    return (before.count("\n") + 1, len(before) - before.rfind("\n"))
