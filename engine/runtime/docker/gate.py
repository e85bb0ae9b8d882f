"""Gate between the reader of a container's log and its sink: only the output of the first run passes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

from engine.model.records import LogFrame

#: Longest time that output is held back; what is done meanwhile is a few calls, each bounded.
_HELD_SECONDS = 120.0


class Gate:
    """Gate of one container's log. Thread-safe."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._border = ""
        #: Time of the last output, by the monotonic clock.
        self.heard_at = time.monotonic()

    def passed(self, frames: Sequence[LogFrame]) -> Sequence[LogFrame]:
        """Return the frames that belong to the first run; wait while the gate is held."""
        self.heard_at = time.monotonic()
        self._open.wait(_HELD_SECONDS)
        border = self._border
        return [frame for frame in frames if frame.stamp <= border] if border else frames

    def hold(self) -> None:
        """Let nothing pass until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Let pass again what belongs to the first run."""
        self._open.set()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing pass inside."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def close_at(self, stamp: str) -> None:
        """Let nothing pass that is younger than `stamp`; "" closes nothing."""
        self._border = stamp
