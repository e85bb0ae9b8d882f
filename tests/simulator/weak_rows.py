"""Weakened rows, one guard at a time: each function patches the store or a verb, and returns the worker to run."""

from __future__ import annotations

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
from engine.model import names
from engine.model.records import Task, Token
from engine.model.states import NodeState, TaskState
from engine.runtime import base
from engine.store import events, links, outbox, tables, tasks
from tests.simulator import carrier, keeper, sim_faults, sim_worker
from tests.simulator.sim_worker import Worker
from tests.simulator.weak_guards import drop
from tests.simulator.weak_repairs import seems_live

Patch = pytest.MonkeyPatch


def blind(patch: Patch, verb: str) -> type[Worker]:
    """Let the verb act under the row's present token, whatever token its caller has."""
    where: ModuleType = next(room for room in (carrier, sim_worker, keeper) if hasattr(room, verb))
    real = getattr(where, verb)

    def looks_away(installation: Any, caller: Any, work: Any, *rest: Any) -> Any:
        if isinstance(work, list):
            present = [replace(task, **_present(installation, task.token)) for task in work]
            return real(installation, caller, present, *rest)
        if isinstance(work, Token):
            return real(installation, caller, replace(work, **_present(installation, work)), *rest)
        return real(
            installation,
            caller,
            replace(work, token=replace(work.token, **_present(installation, work.token))),
            *rest,
        )

    patch.setattr(where, verb, looks_away)
    return Worker


def _present(installation: Any, token: Token) -> dict[str, int]:
    with installation.db.read() as c:
        now = tasks.get(c, token.task_id)
    assert now is not None
    return {"attempt": now.attempt, "delivery": now.delivery}


def mark_state(patch: Patch) -> type[Worker]:
    """Mark a message as sent although its task has left PENDING."""
    _stands(patch, TaskState.PENDING, lambda now, task: now.token == task.token)
    return drop(patch, "mark_sent.state")


def mark_token(patch: Patch) -> type[Worker]:
    """Let a message that was sent for an older delivery mark the newer one."""
    _stands(patch, TaskState.PENDING, lambda now, task: now.state is TaskState.PENDING)
    return Worker


def resend_state(patch: Patch) -> type[Worker]:
    """Send a task again that was claimed meanwhile."""
    _stands(patch, TaskState.SCHEDULED, lambda now, task: now.token == task.token)
    return drop(patch, "resend.state")


def _stands(patch: Patch, state: TaskState, does: Callable[[Task, Task], bool]) -> None:
    """Let `does` decide, by the row now and the task before, which rows expected in `state` go on."""
    real = outbox.lock_unchanged

    def lock_unchanged(c: Any, given: Sequence[Task], wanted: TaskState) -> list[Task]:
        if wanted is not state:
            return real(c, given, wanted)
        return [task for task in given if (now := tasks.get(c, task.id)) is not None and does(now, task)]

    patch.setattr(outbox, "lock_unchanged", lock_unchanged)


def cancel_state(patch: Patch) -> type[Worker]:
    """Cancel a task that has ended."""
    real = sim_faults.cancel

    def cancel(installation: Any, caller: Any, task_id: str) -> Any:
        with installation.db.begin() as c:
            task = tasks.get(c, task_id)
            assert task is not None
            at = tables.tasks.c
            if task.state.ended:
                c.execute(tables.tasks.update().where(at.id == task_id).values(state=TaskState.CANCELLED))
                events.add(c, caller, "task", task, from_state=task.state, to_state=TaskState.CANCELLED)
                return (task_id,)
        return real(installation, caller, task_id)

    patch.setattr(sim_faults, "cancel", cancel)
    return Worker


def finish_state(patch: Patch) -> type[Worker]:
    """End a cancelled task again."""
    real = finish_module.locks.lock_job_and_task

    def running(c: sa.Connection, task_id: str) -> Any:
        locked = real(c, task_id)
        return locked and locked._replace(task=replace(locked.task, state=TaskState.RUNNING))

    patch.setattr(finish_module, "locks", SimpleNamespace(lock_job_and_task=running))
    return drop(patch, "end_task.state")


def begin_link_state(patch: Patch) -> type[Worker]:
    """Let a doubled message begin a link that is confirmed, has ended, or must wait."""

    def begin_link(installation: Any, caller: Any, token: Token, index: int) -> Any:
        with installation.db.read() as c:
            task = tasks.get(c, token.task_id)
            if task is None or not tasks.may_begin_link(c, token, caller.node_id):
                return None
            run = links.of_run(c, task.run)
            return assignment_module.assign(installation, task, run, index, (0, None))

    patch.setattr(carrier, "begin_link", begin_link)
    return Worker


def beat_state(patch: Patch) -> type[Worker]:
    """Let a node that lapsed beat on, and never fence it."""
    patch.setattr(NodeState, "has_beat", property(lambda state: True))
    return drop(patch, "beat.state")


def confirm_order(patch: Patch) -> type[Worker]:
    patch.setattr(confirm_module, "chain", SimpleNamespace(may_begin=lambda run, index: True))
    return Worker


def claim_own_live(patch: Patch) -> type[Worker]:
    """Let a node that lapsed, or is joining, claim."""
    patch.setattr(claim_module, "nodes", SimpleNamespace(share=seems_live))
    return drop(patch, "claim.node_live")


def name_origin(patch: Patch) -> type[Worker]:
    """Leave the run out of the names of containers and volumes."""
    named = SimpleNamespace(
        container=lambda i, run, index: names.container(i, run._replace(origin=0), index),
        volume=lambda i, run, n: names.volume(i, run._replace(origin=0), n),
    )
    patch.setattr(base, "names", named)
    patch.setattr(assignment_module, "names", named)
    return Worker
