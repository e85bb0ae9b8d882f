"""PostgreSQL connection with a deadline for every answer, for a server that hangs.

The server's own statement_timeout needs a server that runs. The kernel of a frozen server (stopped, swapping, hung
disk) still acknowledges each packet, so neither keepalives nor TCP's time-outs notice, and libpq has no time-out for
an answer. psycopg waits in steps; this connection checks the clock after each step.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

Result = TypeVar("Result")

#: Added to the bound, so that the server's own time-out, which says more, comes first.
_EXTRA_SECONDS = 2.0
#: Bound of the pool's ping and of the session's settings, which do no work and wait for no lock.
_PING_SECONDS = 5.0


class DeadlineConnection(psycopg.Connection[Any]):
    """psycopg's connection with a bound for each answer, after which it is closed.

    Raises psycopg.OperationalError then; the statement may have been executed or not.
    """

    #: The server's own statement time-out.
    answer_seconds = 30.0

    def wait(self, gen: Any, *args: Any, **kw: Any) -> Any:
        """Wait as psycopg does, at most until the bound."""
        # Only the pool's ping and the session's settings run in autocommit.
        seconds = _PING_SECONDS if self.autocommit else self.answer_seconds + _EXTRA_SECONDS
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
    """Connect, with this bound and a little more for each answer."""
    connection = DeadlineConnection.connect(*args, **kw)
    connection.answer_seconds = seconds
    return connection


def set_time_outs(connection: Any, milliseconds: int) -> None:
    """Bound each lock and statement of this session.

    By a statement, because a pooler refuses or ignores settings in the request to connect.
    """
    connection.autocommit = True
    bounds = [
        f"set_config('{name}', '{milliseconds}', false)" for name in ("lock_timeout", "statement_timeout")
    ]
    connection.execute(f"SELECT {', '.join(bounds)}", prepare=False)
    connection.autocommit = False
