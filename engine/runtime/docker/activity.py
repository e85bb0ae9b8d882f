"""Activity of this process's containers, so that work that can wait is done in a pause."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class Activity:
    """Count of the calls in progress that start, end or remove containers. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._idle_since = 0.0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count the calls inside as activity."""
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._idle_since = time.monotonic()

    def touch(self) -> None:
        """Count something that has just happened, such as a container's end."""
        with self._lock:
            self._idle_since = time.monotonic()

    def is_idle_for(self, seconds: float) -> bool:
        """Return True if nothing was counted for `seconds`."""
        with self._lock:
            return not self._calls and time.monotonic() - self._idle_since >= seconds
