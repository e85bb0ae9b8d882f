"""Reader of YAML and JSON bytes: plain values with line and column, within bounds, so that no input ends the process.

Everything wrong with a text is raised as `Invalid`, never as another error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.jobspec import json_text, yaml_text
from engine.jobspec.builder import MOST_NODES, Scalar, unreadable
from engine.jobspec.problems import Path, Place, Problem
from engine.jobspec.text_lines import place_after

__all__ = ["MOST_BYTES", "Document", "Media", "Scalar", "load"]

Media = Literal["yaml", "json"]
#: Default bound of a text; the API passes its own.
MOST_BYTES = 1 << 20

#: Control characters (except tab, line feed and carriage return) and non-characters: no text file has them.
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


@dataclass(frozen=True)
class Document:
    """Text that was read. Numbers and booleans in `value` are `Scalar`s, which keep their source text."""

    value: Any
    #: Place of each key, of each list item, and of the whole at ().
    places: Mapping[Path, Place]
    #: Problems that did not stop the reading: duplicate keys, keys that are not text, texts that cannot be stored.
    #: The caller reports them with its own.
    problems: tuple[Problem, ...] = ()


def load(text: bytes, media: Media, most_bytes: int = MOST_BYTES, most_nodes: int = MOST_NODES) -> Document:
    """Read a text of at most `most_bytes` bytes.

    Raises Invalid, `malformed`, when it is empty, too large, not UTF-8, not YAML or JSON, nested deeper than 64
    levels, has more than `most_nodes` keys and values, or has aliases, anchors, tags or a second document.
    """
    decoded = _decode(text, most_bytes)
    tree = (yaml_text if media == "yaml" else json_text).read(decoded, most_nodes)
    return Document(tree.value, tree.places, tuple(tree.problems))


def _decode(text: bytes, most_bytes: int) -> str:
    if not text.strip():
        raise unreadable("the text is empty", "send the file with curl's --data-binary @file", (1, 1))
    if len(text) > most_bytes:
        message = f"the text has {len(text)} bytes, at most {most_bytes} are allowed"
        raise unreadable(message, "make it smaller", (1, 1))
    if text.startswith(_UTF16_OR_32):
        raise unreadable("the text is in UTF-16 or UTF-32", "save the file as UTF-8", (1, 1))
    try:
        decoded = text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        before = text[: exc.start].decode("utf-8").removeprefix("\ufeff")
        raise unreadable("this byte is not UTF-8", "save the file as UTF-8", place_after(before)) from exc
    match = _CONTROL.search(decoded)
    if match is not None:
        message = f"the control character U+{ord(match[0]):04X} is not allowed"
        raise unreadable(
            message, "remove it, or write it as an escape", place_after(decoded[: match.start()])
        )
    return decoded
