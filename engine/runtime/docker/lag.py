"""Age of a followed log: by how many seconds a frame is older than the daemon's present time."""

from __future__ import annotations

import email.utils
import time

from engine.runtime.docker.frames import seconds_of
from engine.runtime.docker.http import Exchange

#: A followed log that is read later than this is given up: if Docker rotates its files twice meanwhile, it goes on
#: with the newest file and says nothing. One file takes longer than this to fill (engine.runtime.docker.options).
LAG_SECONDS = 3.0


class DaemonClock:
    """The daemon's clock, as its answer gave it; this host's clock is not asked."""

    def __init__(self, exchange: Exchange, asked_at: float) -> None:
        """Read the date of an answer whose request was sent at `asked_at`, by the monotonic clock."""
        date = email.utils.parsedate_tz(exchange.header("Date"))
        self._began = None if date is None else email.utils.mktime_tz(date)
        self._asked_at = asked_at

    def age(self, stamp: str) -> float:
        """Return how long ago the daemon stamped a frame, up to a second too little; 0 if it gave no date."""
        if self._began is None:
            return 0.0
        seconds, nanos = seconds_of(stamp)
        return self._began + time.monotonic() - self._asked_at - seconds - nanos / 1e9
