"""Guards of the rows, left out one at a time: each function patches the store or a verb, and says who works."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

import engine.lifecycle.assignment as assignment_module
import engine.lifecycle.claim as claim_module
import engine.lifecycle.confirm as confirm_module
import engine.lifecycle.finish as finish_module
import engine.lifecycle.take_over as take_over_module
import engine.lifecycle.timeout as timeout_module
from engine.lifecycle import nodes as node_verbs
from engine.model import advance, names
from engine.model.records import Node, Standing, Task, Token
from engine.model.states import LinkState, NodeState, TaskState
from engine.store import attempts, events, links, nodes, outbox, tables, tasks
from tests.simulator import carrier, disasters, keeper, worker
from tests.simulator.rows import Snapshot
from tests.simulator.worker import Worker

Patch = pytest.MonkeyPatch
_LAPSE = sa.bindparam("the_lapse")


def blind(patch: Patch, verb: str) -> type[Worker]:
    """The verb goes by the row's present token, whatever token its caller has."""
    where: ModuleType = next(room for room in (carrier, worker, keeper) if hasattr(room, verb))
    real = getattr(where, verb)

    def looks_away(site: Any, work: Any, *rest: Any) -> Any:
        if isinstance(work, list):
            return real(site, [replace(one, **_present(site, one.token)) for one in work], *rest)
        if isinstance(work, Token):
            return real(site, replace(work, **_present(site, work)), *rest)
        return real(site, replace(work, token=replace(work.token, **_present(site, work.token))), *rest)

    patch.setattr(where, verb, looks_away)
    return Worker


def _present(site: Any, token: Token) -> dict[str, int]:
    with site.db.read() as c:
        now = tasks.get(c, token.task_id)
    assert now is not None
    return {"attempt": now.attempt, "delivery": now.delivery}


def mark_state(patch: Patch) -> type[Worker]:
    """Marked as sent, whatever became of it since."""
    _stands(patch, TaskState.PENDING, lambda now, task: now.token == task.token)
    patch.setattr(outbox, "_MARK_SENT", _of_these(state=TaskState.SCHEDULED))
    return Worker


def mark_token(patch: Patch) -> type[Worker]:
    """A message that was sent for an older delivery marks the newer one."""
    _stands(patch, TaskState.PENDING, lambda now, task: now.state is TaskState.PENDING)
    return Worker


def resend_state(patch: Patch) -> type[Worker]:
    """What was claimed since is PENDING again."""
    _stands(patch, TaskState.SCHEDULED, lambda now, task: now.token == task.token)
    patch.setattr(outbox, "_RESEND", _of_these(state=TaskState.PENDING, not_before=sa.bindparam("the_now")))
    return Worker


def _stands(patch: Patch, state: TaskState, does: Callable[[Task, Task], bool]) -> None:
    """Of rows that are to be in `state`, those go on which `does` lets: the row as it is, the task as it was."""
    real = outbox.standing

    def standing(c: Any, given: Sequence[Task], wanted: TaskState) -> list[Task]:
        if wanted is not state:
            return real(c, given, wanted)
        return [task for task in given if (now := tasks.get(c, task.id)) is not None and does(now, task)]

    patch.setattr(outbox, "standing", standing)


def _of_these(**values: Any) -> sa.Update:
    return tables.tasks.update().where(outbox._THESE).values(**values)


def cancel_state(patch: Patch) -> type[Worker]:
    """What has ended is cancelled all the same."""
    real = disasters.cancel

    def cancel(db: Any, task_id: str) -> Any:
        with db.begin() as c:
            task = tasks.get(c, task_id)
            assert task is not None
            at = tables.tasks.c
            if task.state.ended:
                c.execute(tables.tasks.update().where(at.id == task_id).values(state=TaskState.CANCELLED))
                events.add(c, "task", task, from_state=task.state, to_state=TaskState.CANCELLED)
                return (task_id,)
        return real(db, task_id)

    patch.setattr(disasters, "cancel", cancel)
    return Worker


def finish_state(patch: Patch) -> type[Worker]:
    """A task that was cancelled ends once more."""
    real = finish_module.locks.job_and_task

    def running(c: sa.Connection, task_id: str) -> Any:
        task = real(c, task_id)
        return task and replace(task, state=TaskState.RUNNING)

    patch.setattr(finish_module, "locks", SimpleNamespace(job_and_task=running))
    patch.setattr(tasks, "_END", tables.tasks.update().where(tasks._AT))
    return Worker


def finish_link_state(patch: Patch) -> type[Worker]:
    """A link that has ended ends again."""
    any_state = links.links.update().where(
        links._AT, links.links.c.container_id == sa.bindparam("the_container")
    )
    patch.setattr(links, "_END", any_state.values(links._ENDED))
    return Worker


def begin_link_state(patch: Patch) -> type[Worker]:
    """A doubled message begins a link that is confirmed, or has ended, or whose turn it is not."""

    def begin_link(site: Any, token: Token, index: int, node_id: str) -> Any:
        with site.db.read() as c:
            task = tasks.get(c, token.task_id)
            if task is None or not tasks.begins(c, token, node_id):
                return None
            run = links.of_run(c, task.id, task.attempt, task.origin)
            return assignment_module.assign(site, task, run, index, (0, None))

    patch.setattr(carrier, "begin_link", begin_link)
    return Worker


def beat_state(patch: Patch) -> type[Worker]:
    """A node that lapsed beats on, and is never fenced."""
    at = tables.nodes
    raised = at.update().where(nodes._THIS).values(beat=at.c.beat + 1).returning(at.c.state)
    patch.setattr(nodes, "_RAISE", raised)
    patch.setattr(nodes, "_BEATING", tuple(NodeState))
    return Worker


def live_state(patch: Patch) -> type[Worker]:
    """A node that lapsed while it joined is LIVE all the same."""
    real = nodes.move

    def move(c: sa.Connection, node_id: str, to: NodeState, come_from: Any, **values: Any) -> bool:
        return real(c, node_id, to, tuple(NodeState) if to is NodeState.LIVE else come_from, **values)

    patch.setattr(node_verbs, "nodes", SimpleNamespace(**{**vars(nodes), "move": move}))
    return Worker


def takeover_lapsed(patch: Patch) -> type[Worker]:
    """Work of a node that lives is taken over."""
    return _takes(patch, tasks._node_in(tasks._LIVING))


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
    return sa.and_(at.state.in_(tasks._LIVING), at.docker_ok.is_(True), at.looked < lapse_no)


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


def confirm_owner(patch: Patch) -> type[Worker]:
    patch.setattr(tasks, "_MAY_CONFIRM", sa.select(sa.literal(1)).where(tasks._RUNNING))
    return Worker


def confirm_order(patch: Patch) -> type[Worker]:
    patch.setattr(confirm_module, "advance", SimpleNamespace(may_begin=lambda run, index: True))
    return Worker


def confirm_again(patch: Patch) -> type[Worker]:
    """A link that this or a newer delivery confirmed is confirmed again."""
    again = links.links.update().where(links._AT, links.links.c.state != LinkState.ENDED)
    again = again.where(sa.bindparam("the_delivery") == sa.bindparam("the_delivery"))
    patch.setattr(links, "_CONFIRM", again.values(state=LinkState.CONFIRMED))
    return Worker


def finish_container(patch: Patch) -> type[Worker]:
    any_one = links.links.update().where(
        links._AT, links.links.c.state == LinkState.CONFIRMED, sa.bindparam("the_container") != ""
    )
    patch.setattr(links, "_END", any_one.values(links._ENDED))
    return Worker


def _seems_live(c: sa.Connection, node_id: str) -> Node | None:
    found = nodes.share(c, node_id)
    return found and replace(found, state=NodeState.LIVE)


def claim_own_live(patch: Patch) -> type[Worker]:
    """A node that lapsed, or is joining, claims."""
    patch.setattr(claim_module, "nodes", SimpleNamespace(share=_seems_live))
    claims = (
        tables.tasks.update()
        .where(tasks._AT, tasks.tasks.c.state.in_(tasks._WAITING))
        .values(
            state=TaskState.RUNNING,
            node=sa.bindparam("the_node"),
            origin=tasks.tasks.c.delivery,
            held_since=tasks.now_ms(),
        )
        .returning(*tasks.tasks.c)
    )
    patch.setattr(tasks, "_CLAIM", claims)
    return Worker


def claim_never_asks_state(patch: Patch) -> type[Worker]:
    """A doubled message claims what runs already."""
    claims = (
        tables.tasks.update()
        .where(tasks._AT, tasks._node_in([NodeState.LIVE]))
        .values(state=TaskState.RUNNING, node=sa.bindparam("the_node"), origin=tasks.tasks.c.delivery)
        .returning(*tasks.tasks.c)
    )
    patch.setattr(tasks, "_CLAIM", claims)
    return Worker


def takeover_own_live(patch: Patch) -> type[Worker]:
    """A fenced node takes over."""

    turns = itertools.cycle((nodes.share, _seems_live))

    def share(c: sa.Connection, node_id: str) -> Node | None:
        # Asked twice: of the former owner, and of the node that takes over.
        return next(turns)(c, node_id)

    patch.setattr(take_over_module, "nodes", SimpleNamespace(share=share))
    return _takes(patch, tasks._owner_in(tasks.GONE))


def takeover_delivery(patch: Patch) -> type[Worker]:
    """The token stays the former owner's."""
    guards = (tasks._owner_in(tasks.GONE), tasks._node_in(tasks._LIVING))
    return _takes(patch, *guards, delivery=tables.tasks.c.delivery)


def _restartable(patch: Patch, *blocks: sa.ColumnElement[bool]) -> type[Worker]:
    """restart waits only for nodes that these describe."""
    at = tables.nodes.c
    owner = sa.exists().where(at.id == tables.tasks.c.node, at.state.in_(tasks.GONE), at.lapse_no == _LAPSE)
    blocking = [sa.not_(sa.exists().where(block)) for block in blocks]
    return _restarts(patch, sa.and_(tasks._RUNNING, owner, *blocking))


def restart_looked(patch: Patch) -> type[Worker]:
    return _restartable(patch)


def restart_joining(patch: Patch) -> type[Worker]:
    return _restartable(patch, sa.and_(_late(_LAPSE), tables.nodes.c.state == NodeState.LIVE))


def restart_deaf(patch: Patch) -> type[Worker]:
    """A node whose Docker is silent blocks a restart."""
    at = tables.nodes.c
    return _restartable(patch, sa.and_(at.state.in_(tasks._LIVING), at.looked < _LAPSE))


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
    gone = tasks._owner_in(tasks.GONE)
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
    anew = SimpleNamespace(**{**vars(attempts), "standing": lambda c, token: Standing()})
    patch.setattr(claim_module, "attempts", anew)
    return Worker


def crash_self(patch: Patch) -> type[Worker]:
    """Taking up one's own again counts as a crash."""
    counted = tasks._SELF_TAKE_OVER.values(crashes=tables.tasks.c.crashes + 1)
    patch.setattr(tasks, "_SELF_TAKE_OVER", counted)
    return Worker


def crash_left(patch: Patch) -> type[Worker]:
    """Leaving in order counts as a crash."""
    patch.setattr(take_over_module.retry, "crashes_after", lambda crashes, former, held, calm: crashes + 1)
    return Worker


def lapse_sequence(patch: Patch) -> type[Worker]:
    """Lapses have no order: each is number 1."""
    patch.setattr(nodes, "next_lapse", lambda c: 1)
    return Worker


def name_origin(patch: Patch) -> type[Worker]:
    """A container's name does not tell its run."""
    real = names.container
    named = SimpleNamespace(
        container=lambda i, task, attempt, origin, index: real(i, task, attempt, 0, index),
        volume=names.volume,
    )
    patch.setattr(assignment_module, "names", named)
    return Worker


def skip_order(patch: Patch) -> type[Worker]:
    """The first open link of a taken-over chain is the last one."""
    last = SimpleNamespace(may_begin=advance.may_begin, first_open=lambda run: len(run) - 1)
    patch.setattr(claim_module, "advance", last)
    return Worker
