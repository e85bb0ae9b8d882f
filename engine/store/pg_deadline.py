"""A connection to PostgreSQL whose every wait ends: for a server that takes what is sent and answers nothing.

The server's own statement_timeout needs a server that runs. One that is frozen (stopped, swapping, its disk hung)
still has a kernel that acknowledges each packet, so keepalives and TCP's time-outs see nothing either; and libpq
has no time-out for an answer. psycopg waits in steps, and after each of them this asks the clock.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

Result = TypeVar("Result")

#: The server's own word, which says more, comes first.
_LATER_SECONDS = 2.0
#: A pool's question whether a connection still lives: no work, no lock to wait for.
_PING_SECONDS = 5.0


class DeadlineConnection(psycopg.Connection[Any]):
    """psycopg's connection with a bound for each answer; it is closed when that is reached.

    Raises psycopg.OperationalError then: what was asked may have happened or not.
    """

    #: Seconds that a statement may take by the server's own time-out.
    answer_seconds = 30.0

    def wait(self, gen: Any, *args: Any, **kw: Any) -> Any:
        """As psycopg's, for the bound at most."""
        # Only the pool's ping runs in autocommit.
        seconds = _PING_SECONDS if self.autocommit else self.answer_seconds + _LATER_SECONDS
        return super().wait(self._within(gen, seconds), *args, **kw)

    def _within(self, gen: Generator[Any, Any, Result], seconds: float) -> Generator[Any, Any, Result]:
        end = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() >= end:
                    self.close()
                    raise psycopg.OperationalError(f"no answer for {seconds:g} s: the server hangs")
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


def connect(seconds: float, *args: Any, **kw: Any) -> DeadlineConnection:
    """Connect; each answer is waited for this long and a little."""
    made = DeadlineConnection.connect(*args, **kw)
    made.answer_seconds = seconds
    return made
