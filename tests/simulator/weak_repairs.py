"""Guards of what repairs, left out one at a time: take-overs, restarts, time-outs, lapses and their counts."""

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
from engine.model.records import AttemptStatus, Node
from engine.model.states import ADOPTING_NODES, GONE_NODES, NodeState
from engine.store import attempts, nodes, tables, tasks
from tests.simulator.rows import Snapshot
from tests.simulator.worker import Worker

Patch = pytest.MonkeyPatch
_LAPSE = sa.bindparam("the_lapse")


def takeover_lapsed(patch: Patch) -> type[Worker]:
    """Work of a node that lives is taken over."""
    return _takes(patch, tasks._node_in(ADOPTING_NODES))


def _takes(patch: Patch, *where: sa.ColumnElement[bool], **values: Any) -> type[Worker]:
    """take_over under these conditions, beside that of the token."""
    at = tables.tasks.c
    to = {"node": sa.bindparam("the_node"), "delivery": at.delivery + 1, "held_since": tasks.now_ms()}
    taken = tables.tasks.update().where(tasks._RUNNING, *where).values(to | values)
    patch.setattr(tasks, "_TAKE_OVER", taken)
    return Worker


def self_takeover_own(patch: Patch) -> type[Worker]:
    """What another node has, or a fenced one had, is taken up as one's own."""
    anew = tables.tasks.update().where(tasks._RUNNING, sa.bindparam("the_node") != "")
    patch.setattr(tasks, "_SELF_TAKE_OVER", anew.values(tasks._NEXT))
    return Worker


def _late(lapse_no: Any) -> sa.ColumnElement[bool]:
    """A node that might find something has not looked since."""
    at = tables.nodes.c
    return sa.and_(at.state.in_(ADOPTING_NODES), at.runtime_ok.is_(True), at.looked < lapse_no)


def _restarts(patch: Patch, where: sa.ColumnElement[bool], **values: Any) -> type[Worker]:
    """restart under these conditions, setting these values instead of a new delivery."""
    to = tasks._SENT_AGAIN | (values or tasks._NEXT)
    patch.setattr(tasks, "_MAY_RESTART", sa.select(sa.literal(1)).where(where))
    patch.setattr(tasks, "_RESTART", tables.tasks.update().where(where).values(to))
    return Worker


def restart_lapse(patch: Patch) -> type[Worker]:
    """Any lapse will do, and a node that lives as well."""
    nobody_late = sa.not_(sa.exists().where(_late(_LAPSE)))
    return _restarts(patch, sa.and_(tasks._RUNNING, nobody_late))


def seems_live(c: sa.Connection, node_id: str) -> Node | None:
    """As `nodes.share`, whatever has become of the node."""
    found = nodes.share(c, node_id)
    return found and replace(found, state=NodeState.LIVE)


def takeover_own_live(patch: Patch) -> type[Worker]:
    """A fenced node takes over."""

    turns = itertools.cycle((nodes.share, seems_live))

    def share(c: sa.Connection, node_id: str) -> Node | None:
        # Asked twice: of the former owner, and of the node that takes over.
        return next(turns)(c, node_id)

    patch.setattr(take_over_module, "nodes", SimpleNamespace(share=share))
    return _takes(patch, tasks._owner_in(GONE_NODES))


def takeover_delivery(patch: Patch) -> type[Worker]:
    """The token stays the former owner's."""
    guards = (tasks._owner_in(GONE_NODES), tasks._node_in(ADOPTING_NODES))
    return _takes(patch, *guards, delivery=tables.tasks.c.delivery)


def _restartable(patch: Patch, *blocks: sa.ColumnElement[bool]) -> type[Worker]:
    """restart waits only for nodes that these describe."""
    at = tables.nodes.c
    owner = sa.exists().where(at.id == tables.tasks.c.node, at.state.in_(GONE_NODES), at.lapse_no == _LAPSE)
    blocking = [sa.not_(sa.exists().where(block)) for block in blocks]
    return _restarts(patch, sa.and_(tasks._RUNNING, owner, *blocking))


def restart_looked(patch: Patch) -> type[Worker]:
    return _restartable(patch)


def restart_joining(patch: Patch) -> type[Worker]:
    return _restartable(patch, sa.and_(_late(_LAPSE), tables.nodes.c.state == NodeState.LIVE))


def restart_deaf(patch: Patch) -> type[Worker]:
    """A node whose Docker is silent blocks a restart."""
    at = tables.nodes.c
    return _restartable(patch, sa.and_(at.state.in_(ADOPTING_NODES), at.looked < _LAPSE))


def restart_delivery(patch: Patch) -> type[Worker]:
    return _restarts(patch, tasks._FOUND_BY_NOBODY, delivery=tables.tasks.c.delivery)


def restart_uses_retry(patch: Patch) -> type[Worker]:
    return _restarts(patch, tasks._FOUND_BY_NOBODY, attempt=tables.tasks.c.attempt + 1, delivery=1)


def timeout_lapse(patch: Patch) -> type[Worker]:
    """A reconciler times out what a living node has."""

    def share(c: sa.Connection, node_id: str) -> Node | None:
        found = nodes.share(c, node_id)
        return found and replace(found, lapse_no=found.lapse_no or 0)

    patch.setattr(timeout_module, "nodes", SimpleNamespace(share=share))
    patch.setattr(tasks, "_END_LAPSED", sa.select(sa.literal(1)).where(tasks._RUNNING, tasks._OVERDUE))
    patch.setattr(
        Snapshot,
        "overdue",
        lambda self: [task for task in self._running() if (task.id, task.attempt) in self.late],
    )
    return Worker


def timeout_looked(patch: Patch) -> type[Worker]:
    """A time-out does not wait until every node has looked since the lapse."""
    gone = tasks._owner_in(GONE_NODES)
    ended = sa.select(sa.literal(1)).where(tasks._RUNNING, gone, tasks._OVERDUE)
    patch.setattr(tasks, "_END_LAPSED", ended)
    return Worker


def timeout_early(patch: Patch) -> type[Worker]:
    """What is lost is timed out, whatever its time."""
    patch.setattr(tasks, "_END_LAPSED", tasks._MAY_RESTART)
    patch.setattr(Snapshot, "overdue", lambda self: [task for task, _ in self.lost()[1]])
    return Worker


def resume_anew(patch: Patch) -> type[Worker]:
    """Who takes over gives the attempt its whole time again."""
    anew = SimpleNamespace(**{**vars(attempts), "status": lambda c, token: AttemptStatus()})
    patch.setattr(claim_module, "attempts", anew)
    return Worker


def crash_self(patch: Patch) -> type[Worker]:
    """Taking up one's own again counts as a crash."""
    counted = tasks._SELF_TAKE_OVER.values(crashes=tables.tasks.c.crashes + 1)
    patch.setattr(tasks, "_SELF_TAKE_OVER", counted)
    return Worker


def crash_left(patch: Patch) -> type[Worker]:
    """Leaving in order counts as a crash."""
    patch.setattr(retry, "crashes_after", lambda crashes, former, held, calm: crashes + 1)
    return Worker


def lapse_sequence(patch: Patch) -> type[Worker]:
    """Lapses have no order: each is number 1."""
    patch.setattr(nodes, "next_lapse", lambda c: 1)
    return Worker


def skip_order(patch: Patch) -> type[Worker]:
    """The first open link of a taken-over chain is the last one."""
    last = SimpleNamespace(may_begin=chain.may_begin, first_open=lambda run: len(run) - 1)
    patch.setattr(claim_module, "chain", last)
    return Worker
