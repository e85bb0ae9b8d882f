"""Wake-up of this process's flusher after a commit, without knowledge of Celery.

A wake-up names the tasks, so that a process sends what it committed itself. The flusher looks for tasks that other
processes committed only when the reconciler reports some that are overdue: due for more than a second, because
their process is busy or dead.
"""

from __future__ import annotations

import heapq
import threading
import time

_changed = threading.Condition()
_due: list[tuple[float, str]] = []
_overdue = threading.Event()


def wake(*task_ids: str, delay_seconds: float = 0.0) -> None:
    """Tell the flusher that these tasks are due in `delay_seconds` (a retry), or now; called after the commit."""
    at = time.monotonic() + delay_seconds
    with _changed:
        for task_id in task_ids:
            heapq.heappush(_due, (at, task_id))
        _changed.notify_all()


def report_overdue() -> None:
    """Make the flusher look for tasks that have been due for a second and that nobody has sent."""
    if not _overdue.is_set():
        with _changed:
            _overdue.set()
            _changed.notify_all()


def is_overdue_reported() -> bool:
    """Return True when overdue tasks were reported since the last `clear_overdue`."""
    return _overdue.is_set()


def clear_overdue() -> None:
    """Clear the report, just before looking for overdue tasks."""
    _overdue.clear()


def wait(seconds: float, *, knew: bool = True) -> list[str]:
    """Wait for due tasks, for at most `seconds`; remove and return them.

    A report of overdue tasks ends the wait too, unless the caller knew of one before (`knew`).
    """
    end = time.monotonic() + seconds
    with _changed:
        while True:
            now = time.monotonic()
            if _due and _due[0][0] <= now:
                due = []
                while _due and _due[0][0] <= now:
                    due.append(heapq.heappop(_due)[1])
                _changed.notify_all()
                return due
            left = min(end, _due[0][0] if _due else end) - now
            if end <= now or (not knew and _overdue.is_set()):
                return []
            _changed.wait(max(0.0, left))


def wait_for_room(most: int, seconds: float) -> None:
    """Wait until fewer than `most` tasks wait for the flusher, `seconds` at most."""
    with _changed:
        _changed.wait_for(lambda: _due_now() < most, seconds)


def _due_now() -> int:
    now = time.monotonic()
    return sum(at <= now for at, _ in _due)
