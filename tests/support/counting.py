"""A task that counts aloud, and what its story tells afterwards: who adopted it, when, and whether it was whole."""

from __future__ import annotations

from engine.model.records import Event
from engine.model.states import LinkState, TaskState
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until


def counting(lines: int, queue: str = "default") -> str:
    """A task of one link that says a numbered line each 0.1 s."""
    loop = f"for i in $(seq 1 {lines}); do echo line $i; sleep 0.1; done"
    return f"name: count\nqueue: {queue}\nimage: busybox:1.36\nrun: '{loop}'\nretry: {{limit: 0}}\n"


def under_way(fleet: Fleet, task_id: str) -> str:
    """Wait until it has said ten lines; its container's id."""
    wait_until(lambda: "line 10\n" in fleet.log(task_id), 40)
    return fleet.links(task_id)[0].container_id or ""


def repairs(fleet: Fleet, task_id: str, beginning: str = "adopted") -> list[Event]:
    """The repairs of this kind."""
    found = [e for e in fleet.events(task_id) if e.kind == "repair"]
    return [e for e in found if (e.reason or "").startswith(beginning)]


def seconds_from(moment: float, repair: Event) -> float:
    """How long after `moment` (time.time()) it came; printed too, for the table in docs/guarantees.rst."""
    seconds = repair.time / 1000 - moment
    print(f"{seconds:.2f} s to: {repair.reason}")
    return seconds


def assert_whole(fleet: Fleet, task_id: str, lines: int, container_id: str) -> None:
    """It ended well, once, in this very container, with every line once and no retry used."""
    task = fleet.task(task_id)
    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1), task.error
    (link,) = fleet.links(task_id)
    assert (link.state, link.container_id) == (LinkState.ENDED, container_id), "the same container finished"
    assert fleet.log(task_id) == "".join(f"line {i}\n" for i in range(1, lines + 1)), "no gap, none doubled"
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == TaskState.COMPLETED]
    assert len(ends) == 1


#: As `counting`, but for as long as it takes: until it is let go (tests.support.held).
UNTIL_TOLD = """
name: count
image: busybox:1.36
run: "n=0; while [ ! -e /go ]; do n=$((n+1)); echo line $n; sleep 0.1; done"
retry: {limit: 0}
"""


def assert_unbroken(fleet: Fleet, task_id: str, container_id: str) -> int:
    """As `assert_whole`, of an UNTIL_TOLD; says how many lines it wrote."""
    lines = fleet.log(task_id).count("\n")
    assert_whole(fleet, task_id, lines, container_id)
    return lines
