"""Deferral: a node that may not create a lost task's further links leaves the task to others for the shortest grace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from engine.model.states import NodeState
from engine.runtime.base import Order, Resource
from engine.worker.node import deferral
from engine.worker.node.deferral import Deferral
from tests.support.verb_world import World


class HostAccess:
    """Runtime that only answers whether host access is refused."""

    def __init__(self, why: str) -> None:
        self.why, self.asked = why, 0

    def why_refused(self, order: Order) -> str:
        """Return the given reason and count the call."""
        self.asked += 1
        return self.why


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a monotonic clock that the test moves."""
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(deferral, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def _thing(world: World, task_id: str, index: int | None = 0, state: str = "running") -> Resource:
    task = world.task(task_id)
    kind = "volume" if index is None else "container"
    return Resource(kind, "c0", "c0", task.run, index, state)


def _yields(found: Deferral, world: World, task_id: str, former: NodeState, thing: Resource) -> bool:
    return found.defers(world.task(task_id), former, [thing])


@pytest.mark.parametrize(
    ("former", "seconds"),
    [(NodeState.LAPSED, "grace_min_seconds"), (NodeState.LEFT, "restart_grace_seconds")],
)
def test_a_task_is_left_to_others_for_the_least_grace_and_no_longer(
    world: World, clock: SimpleNamespace, former: NodeState, seconds: str
) -> None:
    task_id = world.confirmed(post=1).token.task_id
    found: Any = Deferral(world.installation, HostAccess("closed"))  # type: ignore[arg-type]
    bound = getattr(world.installation.settings.cluster, seconds)
    assert _yields(found, world, task_id, former, _thing(world, task_id))
    clock.now += bound - 0.1
    assert _yields(found, world, task_id, former, _thing(world, task_id))
    clock.now += 0.2
    assert not _yields(found, world, task_id, former, _thing(world, task_id))


def test_open_doors_wait_for_nobody(world: World) -> None:
    task_id = world.confirmed(post=1).token.task_id
    found = Deferral(world.installation, HostAccess(""))  # type: ignore[arg-type]
    assert not _yields(found, world, task_id, NodeState.LAPSED, _thing(world, task_id))


@pytest.mark.parametrize(("state", "defers"), [("running", False), ("exited", False), ("created", True)])
def test_the_last_link_is_followed_by_whoever_finds_it_begun(world: World, state: str, defers: bool) -> None:
    task_id, host_access = world.confirmed().token.task_id, HostAccess("closed")
    found = Deferral(world.installation, host_access)  # type: ignore[arg-type]
    assert _yields(found, world, task_id, NodeState.LAPSED, _thing(world, task_id, 0, state)) is defers
    assert host_access.asked == defers, "no door is needed for what runs already"


def test_a_volume_alone_wants_a_door_for_its_next_link(world: World) -> None:
    task_id = world.confirmed().token.task_id
    found = Deferral(world.installation, HostAccess("closed"))  # type: ignore[arg-type]
    assert _yields(found, world, task_id, NodeState.LAPSED, _thing(world, task_id, None, ""))


def test_another_token_is_waited_for_anew(world: World, clock: SimpleNamespace) -> None:
    task_id = world.confirmed(post=1).token.task_id
    found, task = Deferral(world.installation, HostAccess("closed")), world.task(task_id)  # type: ignore[arg-type]
    assert found.defers(task, NodeState.LAPSED, [_thing(world, task_id)])
    clock.now += world.installation.settings.cluster.grace_min_seconds + 1
    found.keep_only([])
    assert found.defers(replace(task), NodeState.LAPSED, [_thing(world, task_id)])
