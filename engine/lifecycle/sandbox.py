"""leave_sandbox: a task whose sandbox is gone continues without one. Also the sandboxes that a claim may name."""

from __future__ import annotations

from dataclasses import dataclass

from engine import failpoints
from engine.jobspec.task import TaskSpec
from engine.lifecycle.installation import Installation
from engine.lifecycle.task_events import add_repair
from engine.model.records import Caller, Token
from engine.model.states import TaskState
from engine.store import attempts, nodes, tasks


@dataclass(frozen=True)
class SandboxOffer:
    """Names of the sandboxes that a node offers for its next claim; both None: it works without a sandbox."""

    #: A sandbox that runs and that nobody uses.
    warm: str | None = None
    #: A sandbox that the node would make after the claim.
    fresh: str | None = None

    def choose(self, spec: TaskSpec) -> str | None:
        """Return the sandbox for the links of an attempt; None: each container has its own network namespace.

        A sandbox made after the claim costs a task with one link as much as a namespace of its own, and pays off
        for a task with several. A task that asks for Docker networks, or for none, cannot join a sandbox.
        """
        if spec.networks or spec.network == "none":
            return None
        if self.warm is not None:
            return self.warm
        return self.fresh if len(spec.links) > 1 else None


NO_OFFER = SandboxOffer()


def leave_sandbox(installation: Installation, caller: Caller, token: Token, why: str) -> Token | None:
    """Start a new delivery of a task whose sandbox is gone; from the link that could not join, it runs without one.

    Has the guard of self_take_over; counts no crash and uses up no retry. Return the new token, None when refused.
    """
    with installation.db.begin() as c:
        task = tasks.lock(c, token.task_id)
        nodes.share(c, caller.node_id)
        if task is None or not tasks.self_take_over(c, token, caller.node_id):
            return None
        attempts.set_sandbox(c, token, None)
        reason = f"continues without a sandbox: {why}"
        after = add_repair(c, caller, token.task_id, TaskState.RUNNING, reason, caller.node_id).token
        failpoints.hit("leave_sandbox.rows")
    failpoints.hit("leave_sandbox.committed")
    return after
