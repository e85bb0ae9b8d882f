"""How things look: plain lines without escapes when piped or with NO_COLOR, colour on a terminal.

What users and containers wrote passes `harmless` first: a terminal obeys control characters.
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

_TEXT_LINES = 20
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


def is_live() -> bool:
    """True when lines may be rewritten and coloured: a terminal, and nobody asked for plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def console() -> Console:
    """The terminal as rich sees it; made when it is first needed, since rich takes a while to load."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str, style: str | None = None) -> None:
    """A line on standard output, coloured on a terminal."""
    click.echo(click.style(text, **_STYLES[style]) if style and is_live() else text, color=is_live())


_STYLES: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "warn": {"fg": "yellow"},
    "faint": {"dim": True},
    "strong": {"bold": True},
}


def say_text(label: str, text: str) -> None:
    """Somebody's text after a label: on its line, or of several lines the first ones, each on its own."""
    lines = text.rstrip("\n").split("\n")
    if len(lines) == 1:
        say(f"{label} {log_line(text)}")
        return
    say(label)
    for line in lines[:_TEXT_LINES]:
        say(f"  {log_line(line)}")
    if len(lines) > _TEXT_LINES:
        say(f"  … and {len(lines) - _TEXT_LINES} lines more: --json", "faint")


def complain(text: str) -> None:
    """A line on standard error."""
    click.echo(text, err=True)


def fail(text: str, status: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    complain(text)
    sys.exit(status)


def show_json(value: Any) -> None:
    """The value as JSON, for other programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def harmless(text: object) -> str:
    """One line of somebody's text that a terminal shows and does not obey."""
    return "".join(sign if sign.isprintable() else _spelled(sign) for sign in _ESCAPES.sub("", str(text)))


def log_line(text: str) -> str:
    """A line of a container's log for a terminal: of a line that rewrites itself, the last state."""
    return harmless(text.rstrip("\r\n").rpartition("\r")[2].replace("\t", "    "))


def short(id: str) -> str:
    """The beginning of an id, enough to find it again."""
    return id[:8]


def duration(seconds: float) -> str:
    """0.31 s, 4.3 s, 2 m 05 s, 3 h 20 m."""
    if seconds < 0.995:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def seconds_between(begin: str | None, end: str | None) -> float | None:
    """Seconds from one RFC 3339 time to another, None when one is missing."""
    if not begin or not end:
        return None
    return (_time(end) - _time(begin)).total_seconds()


def clock(time: str | None) -> str:
    """An RFC 3339 time in this host's zone, to the second; "" for none."""
    return _time(time).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""


def exit_words(code: int | None) -> str:
    """An exit code in words: "exit 3", "exit 127 (command not found)", "exit 137 (killed by SIGKILL)"."""
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
