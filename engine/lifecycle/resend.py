"""resend: a message that seems lost is due again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.dispatch import poke
from engine.lifecycle.site import Site
from engine.model.records import Task
from engine.model.states import TaskState
from engine.store import events, tasks
from engine.telemetry import crash


def resend(site: Site, found: Sequence[Task], why: str) -> int:
    """SCHEDULED -> PENDING for these rows, their numbers unchanged; a copy that turns up is dropped by the claim.

    Returns how many changed.
    """
    changed = []
    for task in found:
        with site.db.begin() as c:
            if tasks.resend(c, task.token):
                changed.append(task.id)
                events.add(
                    c,
                    "repair",
                    task,
                    from_state=TaskState.SCHEDULED,
                    to_state=TaskState.PENDING,
                    reason=f"sent again: {why}",
                )
                crash.point("resend.rows")
    crash.point("resend.committed")
    poke.poke(*changed)
    return len(changed)
