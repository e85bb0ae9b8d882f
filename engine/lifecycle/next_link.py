"""prospect: what a node would have to do for a lost task, before it takes it over. Reads only."""

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
    """Where the run of a task stands."""

    #: The first link that has not ended.
    order: Order
    #: No link comes after it.
    is_last: bool


def next_link(installation: Installation, task: Task) -> NextLink | None:
    """Where the task's present run stands; None when all its links have ended, or it has none."""
    with installation.db.read() as c:
        run = links.of_run(c, task.run)
        status = attempts.status(c, task.token)
    index = chain.first_open(run)
    if index is None:
        return None
    return NextLink(assign(installation, task, run, index, status).order, index == run[-1].index)
