"""Durations of the spans of a link, for people; no promise depends on them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

#: The spans in their order. `waiting` lasts from when the link was due (for a later link: from the end of the link
#: before) to the claim, by the database's clock; the others are measured by this process's clock.
SPANS = ("waiting", "pulling", "sandbox", "creating", "starting", "running", "ending")


class Timings:
    """Stopwatch with a total for each span, for one thread. Time in a nested span counts for that span only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Count the time inside for this span."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def in_ms(self) -> Mapping[str, int]:
        """Return span -> milliseconds, for the spans that were entered, in their order."""
        self._count()
        return {span: round(self._seconds[span] * 1000) for span in SPANS if span in self._seconds}

    def _count(self) -> None:
        """Add the time since the last call to the innermost open span."""
        now = self._clock()
        if self._open:
            span = self._open[-1]
            self._seconds[span] = self._seconds.get(span, 0.0) + now - self._since
        self._since = now
