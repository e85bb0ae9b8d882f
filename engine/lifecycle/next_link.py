"""next_link: the link that a node would run next for a lost task, read before the node takes the task over."""

from __future__ import annotations

from dataclasses import dataclass

from engine.lifecycle.assignment import assign
from engine.lifecycle.installation import Installation
from engine.model import chain
from engine.model.records import Task
from engine.runtime.base import Order
from engine.store import attempts, links


@dataclass(frozen=True)
class NextLink:
    """First open link of a task's run."""

    order: Order
    #: No link comes after this one.
    is_last: bool


def next_link(installation: Installation, task: Task) -> NextLink | None:
    """Return the next link of the task's present run; None when all links have ended, or there is no run."""
    with installation.db.read() as c:
        run = links.of_run(c, task.run)
        status = attempts.status(c, task.token)
    index = chain.first_open(run)
    if index is None:
        return None
    return NextLink(assign(installation, task, run, index, status).order, index == run[-1].index)
