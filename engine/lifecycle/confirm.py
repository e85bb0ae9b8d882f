"""confirm: the created container becomes the container of its link, before it is started."""

from __future__ import annotations

from engine import failpoints
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.lifecycle.task_events import add_link_change
from engine.model import chain
from engine.model.records import Caller
from engine.model.states import LinkState
from engine.store import links, tasks


def confirm(installation: Installation, caller: Caller, assignment: Assignment, container_id: str) -> bool:
    """Write the container's id under the token, before anybody starts the container.

    Return False when the task is not RUNNING under this token, its node is LAPSED or LEFT, the link has ended, or
    this or a newer delivery has confirmed the link: the thread then removes the container if it created it, and
    lets go. The node's state is read under a lock, so that a container confirmed before a lapse is on every list
    made after the lapse (docs/protocol.rst).
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
        own = next(link for link in run if link.index == order.index)
        add_link_change(c, caller, task, own, LinkState.CONFIRMED, f"container {container_id[:12]}")
        failpoints.hit("confirm.rows")
    failpoints.hit("confirm.committed")
    return True
