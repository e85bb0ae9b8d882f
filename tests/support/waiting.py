"""Waiting for a condition with a deadline, in place of sleeps of a guessed length."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], seconds: float, pause_seconds: float = 0.02) -> Value:
    """Call the condition until it returns something true, and return that; fail after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds} s: {condition!r} returned {value!r}")
        time.sleep(pause_seconds)
