"""How a commit wakes this process's flusher, without knowing Celery.

A poke names the tasks, so that a process sends what it committed itself; what others committed is looked for
only when it has been due for more than a second (they are busy or dead).
"""

from __future__ import annotations

import heapq
import threading
import time

_changed = threading.Condition()
_due: list[tuple[float, str]] = []


def poke(*task_ids: str, delay_seconds: float = 0.0) -> None:
    """Say that these tasks became due, or will in `delay_seconds` (a retry): called after the commit."""
    at = time.monotonic() + delay_seconds
    with _changed:
        for task_id in task_ids:
            heapq.heappush(_due, (at, task_id))
        _changed.notify_all()


def wait(seconds: float) -> list[str]:
    """The tasks that are due now; waits for the first, `seconds` at most. Takes them away."""
    end = time.monotonic() + seconds
    with _changed:
        while True:
            now = time.monotonic()
            if _due and _due[0][0] <= now:
                found = []
                while _due and _due[0][0] <= now:
                    found.append(heapq.heappop(_due)[1])
                return found
            left = min(end, _due[0][0] if _due else end) - now
            if end <= now:
                return []
            _changed.wait(max(0.0, left))
