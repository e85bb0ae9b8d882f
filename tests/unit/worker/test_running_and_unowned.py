"""Running links, resources that nobody owns, and the arithmetic of log positions."""

from __future__ import annotations

import threading

import pytest

from engine.jobspec.task import LinkSpec
from engine.model.records import LogFrame, LogPosition, RunKey, StreamPosition, Token
from engine.model.states import TaskState
from engine.runtime.base import Cause, Control, Order, Resource
from engine.worker.daemon.sweeper import Owners, run_resources, running_beside, unowned
from engine.worker.running import RunningLink, RunningLinks


def link(attempt: int = 1, delivery: int = 1, task: str = "t") -> RunningLink:
    return RunningLink(Token(task, attempt, delivery), Control())


def test_a_token_runs_once() -> None:
    running, first = RunningLinks(), link()
    assert running.add(first)
    assert not running.add(link())
    assert running.has_task("t") and running.all() == [first]


@pytest.mark.parametrize(("attempt", "delivery"), [(1, 2), (2, 1)])
def test_a_newer_token_detaches_the_older_link_of_its_task(attempt: int, delivery: int) -> None:
    running, old, new = RunningLinks(), link(), link(attempt, delivery)
    assert running.add(old) and running.add(new)
    assert old.control.detached and not new.control.detached
    assert not running.add(link())
    # The end of the older one does not remove the newer one.
    running.remove(old)
    assert running.all() == [new]


def test_an_older_attempt_with_a_higher_delivery_is_older() -> None:
    running = RunningLinks()
    assert running.add(link(2, 1))
    assert not running.add(link(1, 9))


def test_the_first_order_to_a_running_link_stands() -> None:
    control = Control()
    control.kill(Cause.TIMEOUT)
    control.detach()
    control.kill(Cause.CANCELLED)
    assert control.kill_for is Cause.TIMEOUT and not control.detached


def test_no_link_runs_any_more_once_the_threads_of_detached_links_have_ended() -> None:
    running, one = RunningLinks(), link()
    running.add(one)
    assert not running.wait_empty(0.01)
    running.detach_all()
    assert one.control.detached
    thread = threading.Thread(target=running.remove, args=(one,))
    thread.start()
    assert running.wait_empty(10)
    thread.join(10)


def container(task: str = "t", attempt: int = 1, origin: int = 1) -> Resource:
    return Resource("container", "id", "name", RunKey(task, attempt, origin), 0, "running")


@pytest.mark.parametrize(
    ("resource", "row", "is_unowned"),
    [
        (container(), (TaskState.RUNNING, 1, 1, 1), False),
        # A take-over raises the delivery and keeps the origin.
        (container(), (TaskState.RUNNING, 1, 4, 1), False),
        (container(), (TaskState.RUNNING, 1, 2, 2), True),
        (container(), (TaskState.RUNNING, 2, 1, 1), True),
        (container(origin=2), (TaskState.RUNNING, 1, 1, 1), True),
        *((container(), (state, 1, 1, 1), True) for state in TaskState if state is not TaskState.RUNNING),
    ],
)
def test_a_live_run_owns_its_resources(
    resource: Resource, row: tuple[TaskState, int, int, int], is_unowned: bool
) -> None:
    assert unowned([resource], Owners({"t": row})) == ([resource] if is_unowned else [])


def test_nobody_owns_a_container_of_an_unknown_task() -> None:
    assert unowned([container("unknown")], Owners()) == [container("unknown")]


@pytest.mark.parametrize(
    ("state", "row", "is_needed"),
    [
        *((state, TaskState.RUNNING, True) for state in ("created", "running", "paused", "restarting")),
        *((state, TaskState.RUNNING, False) for state in ("exited", "dead", "removing")),
        ("running", TaskState.PENDING, True),
        ("running", TaskState.SCHEDULED, True),
        ("running", TaskState.COMPLETED, False),
        ("running", TaskState.CANCELLED, False),
        ("running", None, False),
    ],
)
def test_only_what_may_run_beside_its_task_goes_before_a_node_is_live(
    state: str, row: TaskState | None, is_needed: bool
) -> None:
    former = Resource("container", "id", "name", RunKey("t", 1, 1), 0, state)
    volume = Resource("volume", "v", "v", RunKey("t", 1, 1))
    sandbox = Resource("sandbox", "id", "h", state="running", node="node")
    owners = Owners({"t": (row, 1, 2, 2)} if row is not None else {})
    assert running_beside([former, volume, sandbox], owners) == ([former] if is_needed else [])


def test_a_sandbox_is_owned_while_its_node_an_attempt_or_this_node_names_it() -> None:
    sandbox = Resource("sandbox", "id", "h", state="running", node="node")
    assert unowned([sandbox], Owners()) == [sandbox]
    assert unowned([sandbox], Owners(sandboxes={"h"})) == []
    assert unowned([sandbox], Owners(nodes={"node"})) == []
    assert unowned([sandbox], Owners(), {"h"}) == []
    assert unowned([sandbox], Owners(sandboxes={"other"}, nodes={"another"}), {"more"}) == [sandbox]


def test_the_resources_of_a_run_are_known_by_name() -> None:
    run, volumes = RunKey("t", 2, 3), (("v0", "/tmp"), ("v1", "/d"))
    order = Order("i", "j", run, 1, 1, "main", LinkSpec(image="image"), volumes=volumes)
    assert [(one.kind, one.name, one.run) for one in run_resources(order)] == [
        ("container", "ferryman-i-t-2-3-0", run),
        ("container", "ferryman-i-t-2-3-1", run),
        ("volume", "v0", run),
        ("volume", "v1", run),
    ]


def test_a_position_counts_frames_of_one_stamp_stream_by_stream() -> None:
    position = LogPosition()
    for stream, stamp in [(1, "a"), (1, "a"), (2, "a"), (1, "b"), (2, "a"), (2, "a")]:
        position = position.after([LogFrame(stream, stamp, b"x")])
    assert position == LogPosition(StreamPosition("b", 1), StreamPosition("a", 3))
