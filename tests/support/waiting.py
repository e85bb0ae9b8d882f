"""Waiting for a condition with a deadline: no test sleeps and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found], seconds: float, pause_seconds: float = 0.02) -> Found:
    """Ask until the condition gives something true, which is returned; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds} s: {condition!r} gave {found!r}")
        time.sleep(pause_seconds)
