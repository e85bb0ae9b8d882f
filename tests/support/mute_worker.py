"""The plain worker that lapses without noticing: it does not beat after its container's first output.

The worker follows its container to the end and then reports a false end, which would be seen if it were applied.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import Any

from celery.__main__ import main

from engine.lifecycle import finish
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.runtime.base import Outcome
from engine.worker.execute.log_writer import LogWriter
from engine.worker.node.threads import NodeThreads

_beat, _finish_link, _write = NodeThreads._beat, finish.finish_link, LogWriter.write
_heard = threading.Event()


def write(self: LogWriter, frames: Any) -> None:
    """Note that a container has written."""
    _heard.set()
    _write(self, frames)


def beat(self: Any) -> None:
    """Beat, unless the worker follows a container that has written."""
    if not (_heard.is_set() and self._context.running.all()):
        _beat(self)


def finish_link(
    installation: Installation,
    caller: Caller,
    assignment: Assignment,
    container_id: str | None,
    outcome: Outcome,
) -> Any:
    """Report another end than the container's."""
    return _finish_link(
        installation, caller, assignment, container_id, replace(outcome, exit_code=7, result="invented")
    )


if __name__ == "__main__":
    LogWriter.write = write  # type: ignore[method-assign]
    NodeThreads._beat = beat  # type: ignore[method-assign]
    finish.finish_link = finish_link
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
