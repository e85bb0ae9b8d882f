"""The task file that a command names: its bytes and its media type; `-` reads standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.cli import screen

#: More than any API takes: the refusal with the right words comes from the checks.
_MOST_BYTES = 1 << 27


def read(name: str) -> bytes:
    """The file's bytes. A file that cannot be read ends the command in a sentence, status 2."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(_MOST_BYTES)
        with Path(name).open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as exc:
        screen.fail(f"{screen.harmless(name)}: {(exc.strerror or str(exc)).lower()}", 2)


def media(name: str) -> str:
    """JSON for *.json, else YAML."""
    return "application/json" if name.lower().endswith(".json") else "application/yaml"


def title(name: str) -> str:
    """How messages call the file."""
    return "standard input" if name == "-" else screen.harmless(name)
