"""Named points between two effects, at which a test lets the process die as kill -9 would.

`FERRYMAN_FAILPOINT=claim.committed` arms one. docs/guarantees.rst lists them; a test kills at each.
"""

from __future__ import annotations

import os
import signal

#: Every point in the code, in the order of a task's way; a test asserts that each is hit somewhere.
POINTS = (
    "submit.rows",
    "submit.committed",
    "flush.read",
    "flush.published",
    "flush.marked",
    "sandbox.taken",
    "claim.rows",
    "claim.committed",
    "sandbox.made",
    "prepare.volume",
    "prepare.created",
    "confirm.rows",
    "confirm.committed",
    "go.started",
    "go.followed",
    "go.ended",
    "finish.rows",
    "finish.committed",
    "next.published",
    "remove.container",
    "remove.volume",
    "sandbox.removed",
    "remove.done",
    "lapse.rows",
    "lapse.committed",
    "take_over.rows",
    "take_over.committed",
    "self_take_over.rows",
    "self_take_over.committed",
    "leave_sandbox.rows",
    "leave_sandbox.committed",
    "restart.rows",
    "restart.committed",
    "give_back.rows",
    "give_back.committed",
    "resend.rows",
    "resend.committed",
    "timeout.rows",
    "timeout.committed",
    "cancel.rows",
    "cancel.committed",
    "cancel_job.rows",
    "cancel_job.committed",
    "cancel.seen",
)

_armed = os.environ.get("FERRYMAN_FAILPOINT", "")


def hit(name: str) -> None:
    """Die here if this point is armed; else nothing."""
    if _armed and name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
