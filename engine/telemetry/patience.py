"""Patience: a process that starts before its database or broker waits, and says each few seconds for what."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from engine.errors import FerrymanError, SchemaMismatch, SettingsError, Unavailable, WrongInstallation
from engine.wording.durations import duration

Answer = TypeVar("Answer")

_EVERY_SECONDS = 1.0
#: A line at once, then each 5 s, after a minute each minute.
_LINE_SECONDS, _LATER_SECONDS, _SOON_SECONDS = 5.0, 60.0, 60.0


class NotInTime(Unavailable):
    """End of the patience: a server that did not come within the time that a process waits for it."""


class Stopped(FerrymanError):
    """End of a wait because the process was told to stop."""


class Reminder:
    """Clock of repeated lines about one thing that is away."""

    def __init__(self) -> None:
        self._began = self._next = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def is_due(self) -> bool:
        """Return whether a line is due now; the next one is due some seconds later."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + (_LINE_SECONDS if self.seconds < _SOON_SECONDS else _LATER_SECONDS)
        return True


def wait_for(
    what: str,
    ask: Callable[[], Answer],
    say: Callable[[str], None],
    seconds: float | None,
    stop: threading.Event | None = None,
) -> Answer:
    """Return the answer of `ask`, repeated while it raises Unavailable; each few seconds `say` what is missing.

    Raises NotInTime after `seconds` (None: never), Stopped when `stop` is set, and at once an error that waiting
    does not mend.
    """
    reminder, stop, is_said = Reminder(), stop or threading.Event(), False
    while True:
        try:
            answer = ask()
        except Unavailable as exc:
            if not exc.may_come_back:
                raise
            if seconds is not None and reminder.seconds >= seconds:
                raise NotInTime(f"waited {duration(round(seconds * 1000))} for {what}: {exc}") from exc
            if reminder.is_due():
                is_said = True
                say(f"waiting for {what}, {reminder.seconds:.0f} s so far: {exc}")
            if stop.wait(_EVERY_SECONDS):
                raise Stopped(f"stopped while waiting for {what}") from exc
        else:
            if is_said:
                say(f"{what} answers after {reminder.seconds:.0f} s")
            return answer


def exit_status(exc: FerrymanError) -> int:
    """Return the exit status of a server that ends by this error: 78 wrong settings, 75 try again later, 1 others."""
    if isinstance(exc, SettingsError | SchemaMismatch | WrongInstallation):
        return os.EX_CONFIG
    if isinstance(exc, Unavailable):
        return os.EX_TEMPFAIL if exc.may_come_back else os.EX_CONFIG
    return 1
