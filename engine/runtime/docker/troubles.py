"""Memory of what Docker or the host refuses for one container, volume, sandbox or directory.

Each is told once in the log, and again only when the words change; and it is tried ever more rarely.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass

log = logging.getLogger(__name__)

#: Wait before the second try; it doubles with each further one.
FIRST_SECONDS = 5.0
LONGEST_SECONDS = 600.0
#: More troubles than this are forgotten, those first that are the longest unchanged.
MOST = 1000
#: Ids and numbers differ from one answer to the next.
_VARIABLE = re.compile(r"[0-9a-f]{12,}|\d+")


@dataclass
class _Trouble:
    wait: float
    words: str = ""
    not_before: float = 0.0


class Troubles:
    """Troubles by kind and name. Thread-safe, and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: dict[tuple[str, str], _Trouble] = {}

    def may_try(self, kind: str, name: str) -> bool:
        """Return True unless a failure is so recent that the next try must wait."""
        with self._lock:
            trouble = self._troubles.get((kind, name))
        return trouble is None or time.monotonic() >= trouble.not_before

    def failed(self, kind: str, name: str, words: str) -> None:
        """Record that a removal failed; tell it unless these words were told before."""
        with self._lock:
            trouble = self._take(kind, name)
            trouble.not_before = time.monotonic() + trouble.wait
            trouble.wait = min(LONGEST_SECONDS, trouble.wait * 2)
        self._tell(trouble, f"{kind} {name} stays for now: {words}", logging.WARNING)

    def left_alone(self, kind: str, name: str, words: str) -> None:
        """Tell once why something with our labels is not touched."""
        with self._lock:
            trouble = self._take(kind, name)
        self._tell(trouble, f"{kind} {name} is left alone: {words}", logging.INFO)

    def ended(self, kind: str, name: str) -> None:
        """Forget a trouble: it is over."""
        with self._lock:
            self._troubles.pop((kind, name), None)

    def _take(self, kind: str, name: str) -> _Trouble:
        """Return the trouble, new or known, as the last to be forgotten."""
        trouble = self._troubles.pop((kind, name), None) or _Trouble(FIRST_SECONDS)
        self._troubles[kind, name] = trouble
        if len(self._troubles) > MOST:
            del self._troubles[next(iter(self._troubles))]
        return trouble

    def _tell(self, trouble: _Trouble, message: str, level: int) -> None:
        words = _VARIABLE.sub("#", message)
        if words != trouble.words:
            trouble.words = words
            log.log(level, message)
