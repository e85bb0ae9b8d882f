"""Holds of a worker's node: the intake and the row follow what begins and ends, and a probe ends a hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.errors import DataDirectoryFault, MachineFault, RuntimeUnavailable
from engine.jobspec.task import LinkSpec
from engine.model.states import HoldKind
from engine.worker import machine_faults
from engine.worker.holds import Holds
from engine.worker.machine_faults import MachineFaults
from tests.support.callers import by
from tests.support.docker_daemon import an_order
from tests.support.verb_world import World
from tests.support.waiting import wait_until


class Part:
    """Part of a machine: its probe answers with the reason why it does not work."""

    def __init__(self, reason: str = "") -> None:
        self.reason, self.probes = reason, 0

    def probe(self) -> str:
        self.probes += 1
        return self.reason


@pytest.fixture
def unstarted(world: World) -> Iterator[Holds]:
    """Yield the holds of a LIVE node, to be started by the test; they end with it."""
    world.live()
    made = Holds(world.installation)
    yield made
    made.stop()


@pytest.fixture
def holds(unstarted: Holds) -> Holds:
    """Return the holds of a LIVE node."""
    unstarted.start(lambda: by("n1"), lambda: None)
    return unstarted


def _kinds(world: World) -> list[str]:
    return [held.kind for held in world.node("n1").holds]


def test_a_hold_is_written_and_ends_when_its_probe_passes(world: World, holds: Holds) -> None:
    part = Part("still broken")
    holds.hold(HoldKind.RUNTIME, "no bridge", part.probe)
    assert holds.kinds == (HoldKind.RUNTIME,)
    wait_until(lambda: [held.reason for held in world.node("n1").holds] == ["still broken"], 10)
    part.reason = ""
    wait_until(lambda: not holds.kinds and not world.node("n1").holds, 10)
    told = [event.reason or "" for event in world.events() if event.kind == "node"]
    assert "held (runtime): no bridge" in told
    assert told[-1].startswith("released (runtime) after ")


def test_a_hold_whose_probe_passes_at_once_is_told_too(world: World, holds: Holds) -> None:
    holds.hold(HoldKind.RUNTIME, "no bridge", Part().probe)
    wait_until(lambda: any("released" in (event.reason or "") for event in world.events()), 10)
    assert any(event.reason == "held (runtime): no bridge" for event in world.events())


def test_a_hold_without_a_probe_ends_when_it_is_released(world: World, holds: Holds) -> None:
    holds.hold(HoldKind.BROKER, "no answer")
    holds.hold(HoldKind.RUNTIME, "no bridge", Part("no").probe)
    wait_until(lambda: sorted(_kinds(world)) == ["broker", "runtime"], 10)
    holds.release(HoldKind.BROKER)
    wait_until(lambda: _kinds(world) == ["runtime"], 10)
    assert holds.kinds == (HoldKind.RUNTIME,)


def test_a_probe_that_raises_keeps_the_hold(world: World, holds: Holds) -> None:
    answers = iter([RuntimeUnavailable("no answer"), ValueError("a defect")])

    def probe() -> str:
        error = next(answers, None)
        if error is not None:
            raise error
        return ""

    holds.hold(HoldKind.RUNTIME, "no bridge", probe)
    wait_until(lambda: not holds.kinds, 10)
    assert next(answers, None) is None


def test_a_hold_follows_the_process_to_its_next_node(world: World, unstarted: Holds) -> None:
    node = ["n1"]
    unstarted.start(lambda: by(node[0]), lambda: None)
    unstarted.hold(HoldKind.BROKER, "no answer")
    wait_until(lambda: _kinds(world) == ["broker"], 10)
    world.lapse("n1")
    node[0] = "n2"
    world.live("n2")
    wait_until(lambda: [held.kind for held in world.node("n2").holds] == [HoldKind.BROKER], 10)


def test_the_intake_is_told_when_a_hold_begins_and_ends(unstarted: Holds) -> None:
    told = threading.Semaphore(0)
    unstarted.start(lambda: by("n1"), told.release)
    unstarted.hold(HoldKind.BROKER, "no answer")
    unstarted.hold(HoldKind.BROKER, "still none")
    unstarted.release(HoldKind.BROKER)
    unstarted.release(HoldKind.BROKER)
    assert [told.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_each_fault_holds_by_its_own_part(world: World, holds: Holds) -> None:
    runtime, files = Part("no bridge"), Part("no space")
    faults = MachineFaults(holds, runtime.probe, files.probe)
    faults.hold(an_order("i1"), MachineFault("no bridge"))
    faults.hold(an_order("i1"), DataDirectoryFault("no space"))
    wait_until(lambda: sorted(_kinds(world)) == ["data directory", "runtime"], 10)
    files.reason = ""
    wait_until(lambda: _kinds(world) == ["runtime"], 10)
    runtime.reason = ""
    wait_until(lambda: _kinds(world) == [], 10)


@pytest.mark.parametrize("different", [True, False])
def test_three_refusals_of_different_links_hold_although_a_trial_works(
    holds: Holds, monkeypatch: pytest.MonkeyPatch, different: bool
) -> None:
    monkeypatch.setattr(machine_faults, "_BREAKER_HOLD_SECONDS", 2.0)
    faults, fault = MachineFaults(holds, Part().probe, str), MachineFault("frobnicated")
    for n in range(3):
        spec = LinkSpec(image="busybox:1.36", env={"n": str(n if different else 0)})
        wait_until(lambda: not holds.kinds, 10)
        began = time.monotonic()
        faults.hold(replace(an_order("i1"), spec=spec), fault)
    wait_until(lambda: not holds.kinds, 10)
    assert (time.monotonic() - began >= 2.0) == different


def test_failures_are_counted_for_each_link_of_a_run(holds: Holds) -> None:
    faults, first = MachineFaults(holds, str, str), an_order("i1")
    assert [faults.count(first), faults.count(replace(first, index=1))] == [1, 1]
    assert [faults.count(first), faults.count(replace(first, delivery=2))] == [2, 3]
    assert faults.count(replace(first, run=first.run._replace(origin=2))) == 1
