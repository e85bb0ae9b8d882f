"""How long each step of a link took: for people, no promise reads it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

#: The steps in their order. `waiting` is from being due to the claim (of a later link: from the end of the one
#: before), by the database's clock; the others by this process's.
SPANS = ("waiting", "pulling", "sandbox", "creating", "starting", "running", "ending")


class Timings:
    """A stopwatch with a hand for each step; one thread uses it. A step inside another is not counted to both."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._inside: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def span(self, step: str) -> Iterator[None]:
        """What happens inside is this step."""
        self._turn()
        self._inside.append(step)
        try:
            yield
        finally:
            self._turn()
            self._inside.pop()

    def in_ms(self) -> Mapping[str, int]:
        """Step -> milliseconds, of the steps that were taken, in their order."""
        self._turn()
        return {step: round(self._seconds[step] * 1000) for step in SPANS if step in self._seconds}

    def _turn(self) -> None:
        """What went by since the last turn is the innermost step's."""
        now = self._clock()
        if self._inside:
            step = self._inside[-1]
            self._seconds[step] = self._seconds.get(step, 0.0) + now - self._since
        self._since = now
