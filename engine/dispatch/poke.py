"""How a commit wakes this process's flusher, without knowing Celery."""

from __future__ import annotations

import threading

_wanted = threading.Event()


def poke() -> None:
    """Say that rows became due: called after each commit that made one."""
    _wanted.set()


def wait(seconds: float) -> bool:
    """Wait for a poke, `seconds` at most; True when there was one. Takes it away."""
    heard = _wanted.wait(seconds)
    _wanted.clear()
    return heard
