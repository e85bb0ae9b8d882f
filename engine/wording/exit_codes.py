"""Exit codes in words."""

from __future__ import annotations

import signal

#: Codes with a meaning of their own (Docker, and POSIX shells).
_MEANINGS = {
    125: "Docker refused to start it",
    126: "command cannot be executed",
    127: "command not found",
    128: "user or environment cannot be used",
}


def signal_name(number: int) -> str:
    """Return the name of a signal (`SIGKILL`), `signal 50` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def meaning(code: int) -> str | None:
    """Return the meaning of a container's exit code (`killed by SIGKILL`), None for an ordinary failure."""
    return f"killed by {signal_name(code - 128)}" if 128 < code <= 128 + 64 else _MEANINGS.get(code)


def exit_words(code: int | None) -> str:
    """Return a container's exit code in words: `exit 3`, `exit 127 (command not found)`; "" for None."""
    if code is None:
        return ""
    words = meaning(code)
    return f"exit {code} ({words})" if words else f"exit {code}"


def process_words(code: int) -> str:
    """Return a process's return code in words: `exit 3`, `killed by SIGKILL` for -9."""
    return f"exit {code}" if code >= 0 else f"killed by {signal_name(-code)}"
