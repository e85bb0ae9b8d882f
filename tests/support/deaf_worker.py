"""The plain worker that goes deaf on SIGRTMIN, in the way that PLANTED_DEAFNESS names, and stays connected."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.__main__ import main


def _block(consumer: Any) -> None:
    """Make a call in the hub's thread that never returns."""
    os.read(os.pipe()[0], 1)


def _cancel(consumer: Any) -> None:
    """Stop consuming every queue."""
    consumer.call_soon(consumer.task_consumer.cancel)


_WAYS: dict[str, Callable[[Any], None]] = {"blocked": _block, "cancelled": _cancel}


@signals.worker_ready.connect
def plant(sender: Any, **_: Any) -> None:
    """Set the signal's handler; runs in the main thread, which is the hub's."""
    way = _WAYS[os.environ["PLANTED_DEAFNESS"]]
    signal.signal(signal.SIGRTMIN, lambda *_: way(sender))


if __name__ == "__main__":
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
