"""Output of the commands: coloured on a terminal, plain lines without escapes when piped or with NO_COLOR.

Text of users and containers passes `for_terminal` first, because a terminal obeys control characters.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

from engine.wording.text import for_json, harmless, last_drawn

if TYPE_CHECKING:
    from rich.console import Console

_MOST_TEXT_LINES = 20
STATE_STYLES = {
    "PENDING": "yellow",
    "SCHEDULED": "yellow",
    "RUNNING": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
    "SKIPPED": "dim",
}


def allows_escapes() -> bool:
    """Return whether lines may be coloured and rewritten: a terminal, and the user wants no plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def rich_console() -> Console:
    """Return a console of rich, which is imported here because it loads slowly."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_line(text: str, style: str | None = None) -> None:
    """Print a line on standard output, coloured on a terminal."""
    is_styled = allows_escapes()
    click.echo(click.style(text, **_STYLES[style]) if style and is_styled else text, color=is_styled)


_STYLES: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "warn": {"fg": "yellow"},
    "faint": {"dim": True},
    "strong": {"bold": True},
}


def print_text(label: str, text: str) -> None:
    """Print a user's text after its label; of a text with several lines, the first ones below the label."""
    lines = text.rstrip("\n").split("\n")
    if len(lines) == 1:
        print_line(f"{label} {log_line(text)}")
        return
    print_line(label)
    for line in lines[:_MOST_TEXT_LINES]:
        print_line(f"  {log_line(line)}")
    if len(lines) > _MOST_TEXT_LINES:
        print_line(f"  … and {len(lines) - _MOST_TEXT_LINES} more lines; --json shows all", "faint")


def print_error(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def exit_with_error(text: str, status: int = 1) -> NoReturn:
    """Print the error and exit."""
    print_error(text)
    sys.exit(status)


def print_json(value: Any) -> None:
    """Print the value as JSON, for other programs; a terminal obeys no character of it."""
    click.echo(for_json(json.dumps(value, indent=2, ensure_ascii=False)))


def log_line(text: str) -> str:
    """Return a log line for a terminal; of a line that rewrites itself, the last state."""
    return harmless(last_drawn(text).replace("\t", "    "))


def short_id(id: str) -> str:
    """Return the first characters of an id, enough to find the job, task or node."""
    return id[:8]


def local_time(time: str | None) -> str:
    """Return an RFC 3339 time in this host's time zone, to the second; "" for None."""
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""
