"""Task that prints numbered lines, and checks of its adoption, its times and its log."""

from __future__ import annotations

from engine.model.records import Event
from engine.model.states import LinkState, TaskState
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until


def counting_task(lines: int, queue: str = "default") -> str:
    """Return a task of one link that prints a numbered line each 0.1 s."""
    loop = f"for i in $(seq 1 {lines}); do echo line $i; sleep 0.1; done"
    return f"name: count\nqueue: {queue}\nimage: busybox:1.36\nrun: '{loop}'\nretry: {{limit: 0}}\n"


def wait_until_counting(fleet: Fleet, task_id: str) -> str:
    """Wait until the task has printed ten lines; return the id of its container."""
    wait_until(lambda: "line 10\n" in fleet.log(task_id), 40)
    return fleet.links(task_id)[0].container_id or ""


def repairs(fleet: Fleet, task_id: str, beginning: str = "adopted") -> list[Event]:
    """Return the repair events whose reason begins with `beginning`."""
    events = [e for e in fleet.events(task_id) if e.kind == "repair"]
    return [e for e in events if (e.reason or "").startswith(beginning)]


def seconds_since(moment: float, repair: Event) -> float:
    """Return the seconds from `moment` (time.time()) to the repair; print them for the table in docs/guarantees.rst."""
    seconds = repair.time / 1000 - moment
    print(f"{seconds:.2f} s to: {repair.reason}")
    return seconds


def assert_ran_once(fleet: Fleet, task_id: str, lines: int, container_id: str) -> None:
    """Check that the task completed once, in this container, with each line once and without a retry."""
    task = fleet.task(task_id)
    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1), task.error
    (link,) = fleet.links(task_id)
    assert (link.state, link.container_id) == (LinkState.ENDED, container_id), "the same container finished"
    assert fleet.log(task_id) == "".join(f"line {i}\n" for i in range(1, lines + 1)), (
        "each line once, in order"
    )
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and e.to_state == TaskState.COMPLETED]
    assert len(ends) == 1


#: Counts as `counting_task` does, but until the container is released (tests.support.held_task).
COUNT_UNTIL_RELEASED = """
name: count
image: busybox:1.36
run: "n=0; while [ ! -e /go ]; do n=$((n+1)); echo line $n; sleep 0.1; done"
retry: {limit: 0}
"""


def assert_ran_once_until_released(fleet: Fleet, task_id: str, container_id: str) -> int:
    """Check a COUNT_UNTIL_RELEASED task as `assert_ran_once` does; return the number of its lines."""
    lines = fleet.log(task_id).count("\n")
    assert_ran_once(fleet, task_id, lines, container_id)
    return lines
