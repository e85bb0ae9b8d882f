"""Faults of this node's machine: what it could not begin, and the holds that follow."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from engine.errors import DataDirectoryFault, MachineFault
from engine.model.records import RunKey
from engine.model.states import HoldKind
from engine.runtime.base import Order
from engine.worker.holds import Holds

#: Links whose failures are remembered; older ones are counted from the beginning.
_MOST_LINKS = 1000
#: So many different links refused within this time hold the node for a while even if a trial works: what tasks need
#: and the trial does not may be broken.
_BREAKER_LINKS = 3
_BREAKER_SECONDS = 60.0
_BREAKER_HOLD_SECONDS = 10.0


class MachineFaults:
    """Thread-safe memory of a worker process; a fault holds its node until a trial of the same part works."""

    def __init__(self, holds: Holds, trial: Callable[[], str], why_files_unusable: Callable[[], str]) -> None:
        """Take `trial`, which starts a container of ours, and `why_files_unusable`; both return "" or the reason."""
        self._holds = holds
        self._trials = {HoldKind.RUNTIME: trial, HoldKind.DATA_DIRECTORY: why_files_unusable}
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[RunKey, int], int] = OrderedDict()
        self._refused: deque[tuple[float, int]] = deque(maxlen=100)

    def count(self, order: Order) -> int:
        """Count one more failure to begin this link here; return how many there were in this run."""
        key = (order.run, order.index)
        with self._lock:
            self._failures[key] = number = self._failures.pop(key, 0) + 1
            if len(self._failures) > _MOST_LINKS:
                self._failures.popitem(last=False)
        return number

    def hold(self, order: Order, fault: MachineFault) -> None:
        """Hold the node because of this fault."""
        kind = HoldKind.DATA_DIRECTORY if isinstance(fault, DataDirectoryFault) else HoldKind.RUNTIME
        at_least = _BREAKER_HOLD_SECONDS if self._is_frequent(order) else 0.0
        self._holds.hold(kind, str(fault), self._trials[kind], at_least)

    def _is_frequent(self, order: Order) -> bool:
        now = time.monotonic()
        with self._lock:
            self._refused.append((now, hash(repr(order.spec))))
            recent = {spec for at, spec in self._refused if now - at <= _BREAKER_SECONDS}
        return len(recent) >= _BREAKER_LINKS
