"""Node thread of a worker over real rows, fenced at the worst moment."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.lifecycle import nodes as verbs
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.model.states import NodeState
from engine.worker.context import WorkerContext
from engine.worker.daemon.sandbox_pool import SandboxPool
from engine.worker.holds import Holds
from engine.worker.machine_faults import MachineFaults
from engine.worker.node.threads import NodeThreads
from engine.worker.running import RunningLinks
from tests.support.verb_world import World


def _context(world: World) -> WorkerContext:
    """Return the context of a worker whose daemon answers and has nothing."""
    daemon = SimpleNamespace(describe=lambda: "daemon", list=list, remove=lambda things: 0)
    nobody, running = cast(Any, None), RunningLinks()
    sandboxes = SandboxPool(
        cast(Any, daemon), running, world.installation.settings.runtime, world.installation.id, 1
    )
    return WorkerContext(
        installation=world.installation,
        runtime=cast(Any, daemon),
        sweeper=nobody,
        flusher=nobody,
        sandboxes=sandboxes,
        running=running,
        holds=(holds := Holds(world.installation)),
        faults=MachineFaults(holds, str, str),
        outputs=nobody,
        name="w1",
        queues=("default",),
        slots=1,
        runtime_in_doubt=threading.Event(),
        node_id="first",
    )


def test_a_node_that_is_fenced_as_it_becomes_live_joins_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _context(world)
    threads = NodeThreads(context)
    become_live = verbs.become_live

    def and_lapse(installation: Installation, caller: Caller, looked: int) -> bool:
        """Lapse the node as if the process had stopped here; the thread of the beat continues first."""
        done = become_live(installation, caller, looked)
        if caller.node_id == "first":
            world.lapse(caller.node_id)
            threads._beat()
        return done

    monkeypatch.setattr(verbs, "become_live", and_lapse)
    for _ in range(3):
        threads._pass()
    assert context.node_id != "first"
    assert context.live and world.node(context.node_id).state is NodeState.LIVE
