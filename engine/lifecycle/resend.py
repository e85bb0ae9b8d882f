"""resend: a message that seems lost is due again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.dispatch import poke
from engine.lifecycle.site import Site
from engine.model.records import Task
from engine.model.states import TaskState
from engine.store import events, tasks
from engine.telemetry import crash

#: Rows a transaction: a long backlog costs few commits, and nobody waits long for a row.
_AT_ONCE = 200


def resend(site: Site, found: Sequence[Task], why: str) -> int:
    """SCHEDULED -> PENDING for these rows, their numbers unchanged; a copy that turns up is dropped by the claim.

    Due from now on, so that other processes leave them to this one's flusher at first. Returns how many changed.
    """
    changed = 0
    for start in range(0, len(found), _AT_ONCE):
        # Locked in one order everywhere, so that two reconcilers do not wait for each other.
        changed += _resend(site, sorted(found[start : start + _AT_ONCE], key=lambda task: task.id), why)
    return changed


def _resend(site: Site, group: Sequence[Task], why: str) -> int:
    changed = []
    with site.db.begin() as c:
        now = tasks.now(c)
        for task in group:
            if tasks.resend(c, task.token, now):
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
