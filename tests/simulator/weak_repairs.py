"""Weakened repairs, one guard at a time: take-overs, restarts, time-outs, lapses and their counts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

import engine.lifecycle.claim as claim_module
import engine.lifecycle.take_over as take_over_module
import engine.lifecycle.timeout as timeout_module
from engine.model import chain, retry
from engine.model.records import AttemptStatus, Node, Token
from engine.model.states import NodeState
from engine.store import attempts, nodes, tables, tasks
from tests.simulator.sim_rows import Snapshot
from tests.simulator.sim_worker import Worker
from tests.simulator.weak_guards import drop, weaken

Patch = pytest.MonkeyPatch
_TASK = tables.tasks.c


def seems_live(c: sa.Connection, node_id: str) -> Node | None:
    """Return the node as `nodes.share` does, but LIVE, whatever its state is."""
    found = nodes.share(c, node_id)
    return found and replace(found, state=NodeState.LIVE)


def takeover_own_live(patch: Patch) -> type[Worker]:
    """Let a fenced node take over."""
    turns = itertools.cycle((nodes.share, seems_live))

    def share(c: sa.Connection, node_id: str) -> Node | None:
        # Called twice: for the former owner, and for the node that takes over.
        return next(turns)(c, node_id)

    patch.setattr(take_over_module, "nodes", SimpleNamespace(share=share))
    return drop(patch, "take_over.node")


def takeover_delivery(patch: Patch) -> type[Worker]:
    """Leave the former owner's token to the task."""
    return _also_sets(patch, "take_over", delivery=_TASK.delivery - 1)


def restart_joining(patch: Patch) -> type[Worker]:
    """Restart without waiting for nodes that are JOINING."""
    at = tables.nodes.c
    late = sa.exists().where(
        at.state == NodeState.LIVE, at.runtime_ok.is_(True), at.looked < sa.bindparam("the_lapse")
    )
    weaken(patch, {"restart.looked": sa.not_(late)})
    return Worker


def restart_delivery(patch: Patch) -> type[Worker]:
    """Leave the former owner's token to a restarted task."""
    return _also_sets(patch, "restart", delivery=_TASK.delivery - 1)


def restart_uses_retry(patch: Patch) -> type[Worker]:
    """Count a restart as an attempt."""
    return _also_sets(patch, "restart", attempt=_TASK.attempt + 1, delivery=1)


def timeout_lapse(patch: Patch) -> type[Worker]:
    """Let a reconciler time out the task of a living node."""

    def share(c: sa.Connection, node_id: str) -> Node | None:
        found = nodes.share(c, node_id)
        return found and replace(found, lapse_no=found.lapse_no or 0)

    patch.setattr(timeout_module, "nodes", SimpleNamespace(share=share))
    patch.setattr(
        Snapshot,
        "overdue",
        lambda self: [task for task in self._running() if (task.id, task.attempt) in self.late],
    )
    return drop(patch, "timeout.lapse", "timeout.looked")


def timeout_early(patch: Patch) -> type[Worker]:
    """Time out lost tasks before their time."""
    patch.setattr(Snapshot, "overdue", lambda self: [task for task, _ in self.lost()[1]])
    return drop(patch, "timeout.overdue")


def resume_anew(patch: Patch) -> type[Worker]:
    """Let whoever takes over give the attempt its whole time again."""
    anew = SimpleNamespace(**{**vars(attempts), "status": lambda c, token: AttemptStatus()})
    patch.setattr(claim_module, "attempts", anew)
    return Worker


def crash_self(patch: Patch) -> type[Worker]:
    """Count a self-take-over as a crash."""
    return _also_sets(patch, "self_take_over", crashes=_TASK.crashes + 1)


def _also_sets(patch: Patch, verb: str, **values: Any) -> type[Worker]:
    """Have the store's function set these columns too, after it changed the row."""
    real = getattr(tasks, verb)
    at_task = tables.tasks.update().where(_TASK.id == sa.bindparam("the_task")).values(values)

    def changed(c: sa.Connection, token: Token, *rest: Any) -> bool:
        done = bool(real(c, token, *rest))
        if done:
            c.execute(at_task, {"the_task": token.task_id})
        return done

    patch.setattr(tasks, verb, changed)
    return Worker


def crash_left(patch: Patch) -> type[Worker]:
    """Count leaving in order as a crash."""
    patch.setattr(retry, "crashes_after", lambda crashes, former, held, calm: crashes + 1)
    return Worker


def lapse_sequence(patch: Patch) -> type[Worker]:
    """Give all lapses the number 1, so that they have no order."""
    patch.setattr(nodes, "next_lapse", lambda c: 1)
    return Worker


def skip_order(patch: Patch) -> type[Worker]:
    """Resume a taken-over chain at its last link."""
    last = SimpleNamespace(may_begin=chain.may_begin, first_open=lambda run: len(run) - 1)
    patch.setattr(claim_module, "chain", last)
    return Worker
