"""Output of the commands: coloured on a terminal, plain lines without escapes when piped or with NO_COLOR.

Text of users and containers passes `harmless` first, because a terminal obeys control characters.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from rich.console import Console

_MOST_TEXT_LINES = 20
#: Escape sequences as programs write them: CSI, OSC, and the short ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
#: Exit codes with a meaning of their own (Docker, and POSIX shells).
_CODES = {
    125: "Docker refused to start it",
    126: "the command cannot be executed",
    127: "command not found",
    128: "user or environment cannot be used",
}
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
    """Print the value as JSON, for other programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def harmless(text: object) -> str:
    """Return the text without escape sequences and with control characters spelled out, on one line."""
    return "".join(sign if sign.isprintable() else _spelled(sign) for sign in _ESCAPES.sub("", str(text)))


def log_line(text: str) -> str:
    """Return a log line for a terminal; of a line that rewrites itself, the last state."""
    return harmless(text.rstrip("\r\n").rpartition("\r")[2].replace("\t", "    "))


def short_id(id: str) -> str:
    """Return the first characters of an id, enough to find the job, task or node."""
    return id[:8]


def duration(seconds: float) -> str:
    """Return seconds in words: 0.31 s, 4.3 s, 2 m 05 s, 3 h 20 m."""
    if seconds < 0.995:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def seconds_between(begin: str | None, end: str | None) -> float | None:
    """Return the seconds between two RFC 3339 times, None when one is missing."""
    if not begin or not end:
        return None
    return (_time(end) - _time(begin)).total_seconds()


def local_time(time: str | None) -> str:
    """Return an RFC 3339 time in this host's time zone, to the second; "" for None."""
    return _time(time).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""


def exit_words(code: int | None) -> str:
    """Return an exit code in words: "exit 3", "exit 127 (command not found)", "exit 137 (killed by SIGKILL)"."""
    if code is None:
        return ""
    words = _CODES.get(code)
    if words is None and 128 < code <= 192:
        try:
            words = f"killed by {signal.Signals(code - 128).name}"
        except ValueError:
            words = f"killed by signal {code - 128}"
    return f"exit {code} ({words})" if words else f"exit {code}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _spelled(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
