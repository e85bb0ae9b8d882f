"""Task files named on the command line: content, media type, name in messages; `-` is standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.cli import screen
from engine.wording.text import for_terminal

#: Above the limit of any API: the checks refuse a longer file with the right message.
_MOST_BYTES = 1 << 27


def read(name: str) -> bytes:
    """Return the bytes of the file. Exits with status 2 and a message when it is empty or cannot be read."""
    try:
        if name == "-":
            text = sys.stdin.buffer.read(_MOST_BYTES)
        else:
            with Path(name).open("rb") as file:
                text = file.read(_MOST_BYTES)
    except OSError as exc:
        screen.exit_with_error(f"{for_terminal(name)}: {(exc.strerror or str(exc)).lower()}", 2)
    if not text.strip():
        screen.exit_with_error(f"{display_name(name)} is empty: write a task, such as examples/hello.yaml", 2)
    return text


def media_type(name: str) -> str:
    """Return JSON for *.json, YAML for all others."""
    return "application/json" if name.lower().endswith(".json") else "application/yaml"


def display_name(name: str) -> str:
    """Return the name of the file for messages."""
    return "standard input" if name == "-" else for_terminal(name)
