"""resend: tasks whose message seems lost are due again."""

from __future__ import annotations

from collections.abc import Sequence

from engine import failpoints
from engine.dispatch import wakeup
from engine.lifecycle.installation import Installation
from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.store import events, outbox, tasks

#: Rows per transaction: a long backlog costs few commits, and no other verb waits long for a row.
AT_ONCE = 200


def resend(
    installation: Installation, caller: Caller, lost: Sequence[Task], why: str, *, counts: bool = True
) -> int:
    """Make these SCHEDULED tasks PENDING under their token; return how many changed.

    A copy of the message that turns up later is dropped by the claim. The tasks are due from now on, so that the
    flushers of other processes leave them to this process's flusher at first. Each loss doubles the wait before the
    next one is noticed, unless it does not count, because it is known to be the broker's.
    """
    changed = 0
    for start in range(0, len(lost), AT_ONCE):
        changed += _resend(installation, caller, lost[start : start + AT_ONCE], why, counts)
    return changed


def _resend(installation: Installation, caller: Caller, group: Sequence[Task], why: str, counts: bool) -> int:
    with installation.db.begin() as c:
        changed = outbox.resend(c, group, tasks.now(c), counts=counts)
        was, to = TaskState.SCHEDULED, TaskState.PENDING
        reason = f"sent again: {why}"
        events.add_all(c, caller, "repair", changed, from_state=was, to_state=to, reason=reason)
        if changed:
            failpoints.hit("resend.rows")
    failpoints.hit("resend.committed")
    wakeup.wake(*(task.id for task in changed))
    return len(changed)
