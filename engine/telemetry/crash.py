"""Named points between two effects, at which a test lets the process die as kill -9 would.

`FERRYMAN_CRASH_POINT=claim.committed` arms one. docs/guarantees.rst lists them; a test kills at each.
"""

from __future__ import annotations

import os
import signal

#: Every point in the code, in the order of a task's way; a test asserts that each is called somewhere.
POINTS = (
    "submit.rows",
    "submit.committed",
    "flush.read",
    "flush.published",
    "claim.rows",
    "claim.committed",
    "prepare.created",
    "confirm.committed",
    "go.started",
    "go.ended",
    "finish.rows",
    "finish.committed",
    "next.published",
    "remove.done",
)

_armed = os.environ.get("FERRYMAN_CRASH_POINT", "")


def point(name: str) -> None:
    """Die here if this point is armed; else nothing."""
    if _armed and name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
