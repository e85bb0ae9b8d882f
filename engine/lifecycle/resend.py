"""resend: a message that seems lost is due again."""

from __future__ import annotations

from collections.abc import Sequence

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.store import events, outbox, tasks

#: Rows a transaction: a long backlog costs few commits, and nobody waits long for a row.
AT_ONCE = 200


def resend(installation: Installation, caller: Caller, found: Sequence[Task], why: str) -> int:
    """SCHEDULED -> PENDING for these rows, their numbers unchanged; a copy that turns up is dropped by the claim.

    Due from now on, so that other processes leave them to this one's flusher at first. Returns how many changed.
    """
    changed = 0
    for start in range(0, len(found), AT_ONCE):
        changed += _resend(installation, caller, found[start : start + AT_ONCE], why)
    return changed


def _resend(installation: Installation, caller: Caller, group: Sequence[Task], why: str) -> int:
    with installation.db.begin() as c:
        changed = outbox.resend(c, group, tasks.now(c))
        reason = f"sent again: {why}"
        events.add_all(
            c,
            caller,
            "repair",
            changed,
            from_state=TaskState.SCHEDULED,
            to_state=TaskState.PENDING,
            reason=reason,
        )
        if changed:
            failpoints.hit("resend.rows")
    failpoints.hit("resend.committed")
    wakeup.wake(*(task.id for task in changed))
    return len(changed)
