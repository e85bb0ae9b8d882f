"""Failpoints: named places between two effects, where a test can make the process die as by kill -9.

`FERRYMAN_FAILPOINT=claim.committed` arms one. docs/guarantees.rst lists all; a test kills a process at each.
"""

from __future__ import annotations

import os
import signal

#: All failpoints, in the order in which a task meets them; a test asserts that the code has exactly these.
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
    "hold.rows",
    "hold.committed",
    "release.rows",
    "release.committed",
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
    """Die if this failpoint is armed, else do nothing."""
    if _armed and name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
