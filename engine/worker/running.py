"""The links that the threads of this process are running, by task."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from engine.model.records import Token
from engine.runtime.base import Control


@dataclass(frozen=True)
class RunningLink:
    """A link with a thread of this process; `control` tells the thread to kill the container or to let go of it."""

    token: Token
    control: Control
    #: The sandbox that the link's container joins.
    sandbox: str | None = None


#: Reasons of lost containers that wait for their event.
_MOST_REASONS = 1000


class RunningLinks:
    """Thread-safe register of running links; one for each task, the one with the newest token."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._links: dict[str, RunningLink] = {}
        self._reasons: dict[str, str] = {}

    def add(self, link: RunningLink) -> bool:
        """Register a link and detach an older one of its task; return False when this token or a newer one runs."""
        with self._lock:
            older = self._links.get(link.token.task_id)
            if older is not None:
                old, new = older.token, link.token
                if (old.attempt, old.delivery) >= (new.attempt, new.delivery):
                    return False
                older.control.detach()
            self._links[link.token.task_id] = link
            return True

    def remove(self, link: RunningLink) -> None:
        """Remove a link; a newer one of the same task stays."""
        with self._lock:
            if self._links.get(link.token.task_id) is link:
                del self._links[link.token.task_id]
            if not self._links:
                self._empty.notify_all()

    def lost_container(self, task_id: str, reason: str) -> None:
        """Keep why the container of a task was lost, for the event that retakes the task."""
        with self._lock:
            self._reasons[task_id] = reason
            if len(self._reasons) > _MOST_REASONS:
                del self._reasons[next(iter(self._reasons))]

    def why_lost(self, task_id: str) -> str:
        """Return why the task's container was lost, once; "" if that is unknown."""
        with self._lock:
            return self._reasons.pop(task_id, "")

    def all(self) -> list[RunningLink]:
        """Return the links that are running now."""
        with self._lock:
            return list(self._links.values())

    def has_task(self, task_id: str) -> bool:
        """Return True when a thread is running a link of this task."""
        with self._lock:
            return task_id in self._links

    def detach_all(self) -> None:
        """Tell every thread to let go of its link; the containers run on."""
        for link in self.all():
            link.control.detach()

    def wait_empty(self, seconds: float) -> bool:
        """Wait up to `seconds` until no link is running; return False when the time is over."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._links, seconds)
