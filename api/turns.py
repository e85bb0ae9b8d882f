"""Turns at computing: few requests compute at the same time, so that none waits long for the interpreter.

The interpreter runs one thread at a time, and a thread that computes keeps it for milliseconds. If 200 threads
computed, each would run about once a second, and so would the server's main loop and `/health`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, g, request

from engine.errors import FerrymanError

#: The interpreter runs one of them; the other may wait for the database meanwhile.
MOST = 2
#: Longest wait for a turn.
WAIT_SECONDS = 20.0
#: Views that compute nothing, and the view that waits for its body and for the commit: it takes a turn in between.
_WITHOUT = ("rest.health", "rest.status", "rest.submit_task", "rest.submit_task1")


class TooBusy(FerrymanError):
    """Refusal of a request that got no turn in time."""

    def __init__(self) -> None:
        super().__init__(
            f"the API is busy: no turn for this request within {WAIT_SECONDS:g} s; send it again"
        )


class Turns:
    """Turns of one process, given in the order in which they were asked for. Thread-safe.

    A semaphore would not do: the request that gives its turn back to let others compute takes it again before any
    of them has woken up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = MOST
        self._waiting: deque[threading.Event] = deque()

    def take(self) -> None:
        """Take a turn, to be given back. Raises TooBusy."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            given = threading.Event()
            self._waiting.append(given)
        if given.wait(WAIT_SECONDS):
            return
        with self._lock:
            if given.is_set():
                return
            self._waiting.remove(given)
        raise TooBusy

    def give_back(self) -> None:
        """Give back a turn: to the request that has waited longest, if any waits."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def rest(self) -> None:
        """Let the others that wait have a turn before this request goes on. Raises TooBusy."""
        if self._waiting and g.pop("has_turn", False):
            self.give_back()
            self.take()
            g.has_turn = True

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Take a turn for the block. Raises TooBusy."""
        self.take()
        try:
            yield
        finally:
            self.give_back()


def install(app: Flask, turns: Turns) -> None:
    """Give each request a turn, except to the views that take turns themselves or need none."""

    @app.before_request
    def take() -> None:
        if request.endpoint not in _WITHOUT:
            turns.take()
            g.has_turn = True

    @app.teardown_request
    def give_back(exc: BaseException | None) -> None:
        if g.pop("has_turn", False):
            turns.give_back()
