"""How a commit wakes this process's flusher, without knowing Celery.

A poke names the tasks, so that a process sends what it committed itself; what others committed is looked for
only when somebody here noticed that it has been due for more than a second (they are busy or dead).
"""

from __future__ import annotations

import heapq
import threading
import time

_changed = threading.Condition()
_due: list[tuple[float, str]] = []
_noticed = threading.Event()


def wake(*task_ids: str, delay_seconds: float = 0.0) -> None:
    """Say that these tasks became due, or will in `delay_seconds` (a retry): called after the commit."""
    at = time.monotonic() + delay_seconds
    with _changed:
        for task_id in task_ids:
            heapq.heappush(_due, (at, task_id))
        _changed.notify_all()


def notice() -> None:
    """Say that rows are due which nobody has sent for a second; the flusher then looks for them."""
    if not _noticed.is_set():
        with _changed:
            _noticed.set()
            _changed.notify_all()


def noticed() -> bool:
    """Whether somebody noticed such rows since the last `forget`."""
    return _noticed.is_set()


def forget() -> None:
    """They are looked for now: what is noticed from here on is news."""
    _noticed.clear()


def wait(seconds: float, *, knew: bool = True) -> list[str]:
    """The tasks that are due now; waits for the first, `seconds` at most. Takes them away.

    Whoever did not know of anything noticed (`knew` False) is woken by that too.
    """
    end = time.monotonic() + seconds
    with _changed:
        while True:
            now = time.monotonic()
            if _due and _due[0][0] <= now:
                found = []
                while _due and _due[0][0] <= now:
                    found.append(heapq.heappop(_due)[1])
                _changed.notify_all()
                return found
            left = min(end, _due[0][0] if _due else end) - now
            if end <= now or (not knew and _noticed.is_set()):
                return []
            _changed.wait(max(0.0, left))


def wait_for_room(most: int, seconds: float) -> None:
    """Wait until fewer than `most` tasks wait for the flusher, `seconds` at most."""
    with _changed:
        _changed.wait_for(lambda: _due_now() < most, seconds)


def _due_now() -> int:
    now = time.monotonic()
    return sum(at <= now for at, _ in _due)
