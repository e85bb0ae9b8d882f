"""Whether this process has containers starting, ending or going: work that can wait waits for a pause in that."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class Activity:
    """Counts what stirs the daemon. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stirring = 0
        self._since = 0.0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """What happens inside stirs the daemon."""
        with self._lock:
            self._stirring += 1
        try:
            yield
        finally:
            with self._lock:
                self._stirring -= 1
                self._since = time.monotonic()

    def touch(self) -> None:
        """Something stirred it just now (a container ended)."""
        with self._lock:
            self._since = time.monotonic()

    def is_idle_for(self, seconds: float) -> bool:
        """Nothing has stirred it for so long."""
        with self._lock:
            return not self._stirring and time.monotonic() - self._since >= seconds
