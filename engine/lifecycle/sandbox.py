"""The network of an attempt: which sandbox a claim takes, and the way back when that sandbox is gone (DESIGN 3a)."""

from __future__ import annotations

from dataclasses import dataclass

from engine import failpoints
from engine.jobspec.task import TaskSpec
from engine.lifecycle import repair_event
from engine.lifecycle.installation import Installation
from engine.model.records import Token
from engine.model.states import TaskState
from engine.store import attempts, nodes, tasks


@dataclass(frozen=True)
class Offered:
    """The sandboxes that a node has for the next claim, by name; both None: it takes the plain way."""

    #: One that is there, and that nobody uses.
    warm: str | None = None
    #: One that it would make after the claim.
    fresh: str | None = None


NOTHING = Offered()


def chosen(spec: TaskSpec, offered: Offered) -> str | None:
    """The sandbox whose namespace the attempt's links join; None: the plain way, a namespace for each container.

    A sandbox made after the claim costs a task of one link as much as its own namespace would, and pays for one of
    several. Who asks for networks of his own, or for none, cannot join.
    """
    if spec.networks or spec.network == "none":
        return None
    if offered.warm is not None:
        return offered.warm
    return offered.fresh if len(spec.links) > 1 else None


def leave_sandbox(installation: Installation, token: Token, node_id: str, why: str) -> Token | None:
    """A new delivery of a task whose sandbox is gone: from the link that could not join on, it goes the plain way.

    As self_take_over, whose guard it has: no crash, no retry. Returns the new token, None when refused.
    """
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        nodes.share(c, node_id)
        if task is None or not tasks.self_take_over(c, token, node_id):
            return None
        attempts.set_sandbox(c, token, None)
        reason = f"goes on with networks of its own: {why}"
        after = repair_event.tell(c, token.task_id, TaskState.RUNNING, reason, node_id).token
        failpoints.hit("leave_sandbox.rows")
    failpoints.hit("leave_sandbox.committed")
    return after
