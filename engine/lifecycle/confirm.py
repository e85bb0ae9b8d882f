"""confirm: between create and start, the container becomes the link's."""

from __future__ import annotations

from engine import failpoints
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model import chain
from engine.model.records import Caller
from engine.model.states import LinkState
from engine.store import events, links, tasks


def confirm(installation: Installation, caller: Caller, assignment: Assignment, container_id: str) -> bool:
    """Write the container's id under the token, before anybody starts it.

    Refused (False) when the task is not RUNNING under this token, its node LAPSED or LEFT, the link ended, or
    this or a newer delivery confirmed it: then the caller removes what it made itself, and lets go. The node's
    state is asked under a lock, so that a confirm before a lapse is on every list after it (protocol 2).
    """
    token, order = assignment.token, assignment.order
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        if task is None or not tasks.may_confirm(c, token):
            return False
        run = links.of_run(c, order.run)
        if not chain.may_begin(run, order.index):
            return False
        if not links.confirm(c, token, order.run.origin, order.index, container_id):
            return False
        before = next(link.state for link in run if link.index == order.index)
        events.add(
            c,
            caller,
            "link",
            task,
            from_state=before,
            to_state=LinkState.CONFIRMED,
            node=task.node,
            reason=f"{assignment.link_name} in container {container_id[:12]}",
        )
        failpoints.hit("confirm.rows")
    failpoints.hit("confirm.committed")
    return True
