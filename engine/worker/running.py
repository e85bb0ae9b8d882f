"""What this process has in hand: one entry a link that a thread works on."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from engine.model.records import Token
from engine.runtime.base import Control


@dataclass(frozen=True)
class RunningLink:
    """A thread at work for `token`; `control` is how it is told to kill or to let go."""

    token: Token
    control: Control
    #: The sandbox whose network the link joins.
    sandbox: str | None = None


class RunningLinks:
    """The links in hand, by task. Thread-safe; one task is in one hand, an older delivery lets go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._held: dict[str, RunningLink] = {}

    def take(self, link: RunningLink) -> bool:
        """Enter a hand; False when this very token, or a newer one, is in hand already."""
        with self._lock:
            held = self._held.get(link.token.task_id)
            if held is not None:
                old, new = held.token, link.token
                if (old.attempt, old.delivery) >= (new.attempt, new.delivery):
                    return False
                held.control.detach()
            self._held[link.token.task_id] = link
            return True

    def drop(self, link: RunningLink) -> None:
        """Leave; a newer hand of the same task stays."""
        with self._lock:
            if self._held.get(link.token.task_id) is link:
                del self._held[link.token.task_id]
            if not self._held:
                self._empty.notify_all()

    def all(self) -> list[RunningLink]:
        """What is in hand now."""
        with self._lock:
            return list(self._held.values())

    def holds(self, task_id: str) -> bool:
        """A thread works on this task."""
        with self._lock:
            return task_id in self._held

    def detach_all(self) -> None:
        """Let go of everything; the containers run on."""
        for link in self.all():
            link.control.detach()

    def wait_empty(self, seconds: float) -> bool:
        """Wait until nothing is in hand, `seconds` at most; True when so."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._held, seconds)
