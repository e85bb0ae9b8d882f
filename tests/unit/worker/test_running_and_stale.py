"""What a worker has in hand, what the sweep may remove, and the arithmetic of log positions."""

from __future__ import annotations

import threading

import pytest

from engine.jobspec.task import LinkSpec
from engine.model.records import LogFrame, LogPosition, RunKey, StreamPosition, Token
from engine.model.states import TaskState
from engine.runtime.base import Cause, Control, Order, Resource
from engine.worker.daemon.sweeper import Owners, run_things, stale
from engine.worker.running import RunningLink, RunningLinks


def link(attempt: int = 1, delivery: int = 1, task: str = "t") -> RunningLink:
    return RunningLink(Token(task, attempt, delivery), Control())


def test_a_token_is_in_one_hand_only() -> None:
    running, first = RunningLinks(), link()
    assert running.take(first)
    assert not running.take(link())
    assert running.holds("t") and running.all() == [first]


@pytest.mark.parametrize(("attempt", "delivery"), [(1, 2), (2, 1)])
def test_a_newer_token_takes_over_and_the_older_hand_lets_go(attempt: int, delivery: int) -> None:
    running, old, new = RunningLinks(), link(), link(attempt, delivery)
    assert running.take(old) and running.take(new)
    assert old.control.detached and not new.control.detached
    assert not running.take(link())
    # The old one's leaving does not take the new one out.
    running.drop(old)
    assert running.all() == [new]


def test_an_older_attempt_with_a_higher_delivery_is_older() -> None:
    running = RunningLinks()
    assert running.take(link(2, 1))
    assert not running.take(link(1, 9))


def test_the_first_word_to_a_hand_stands() -> None:
    control = Control()
    control.kill(Cause.TIMEOUT)
    control.detach()
    control.kill(Cause.CANCELLED)
    assert control.kill_for is Cause.TIMEOUT and not control.detached


def test_letting_go_of_everything_empties_the_hands_when_their_threads_end() -> None:
    running, one = RunningLinks(), link()
    running.take(one)
    assert not running.wait_empty(0.01)
    running.detach_all()
    assert one.control.detached
    thread = threading.Thread(target=running.drop, args=(one,))
    thread.start()
    assert running.wait_empty(10)
    thread.join(10)


def thing(task: str = "t", attempt: int = 1, origin: int = 1) -> Resource:
    return Resource("container", "id", "name", RunKey(task, attempt, origin), 0, "running")


@pytest.mark.parametrize(
    ("found", "row", "gone"),
    [
        (thing(), (TaskState.RUNNING, 1, 1, 1), False),
        # A take-over raises the delivery and keeps the run.
        (thing(), (TaskState.RUNNING, 1, 4, 1), False),
        (thing(), (TaskState.RUNNING, 1, 2, 2), True),
        (thing(), (TaskState.RUNNING, 2, 1, 1), True),
        (thing(origin=2), (TaskState.RUNNING, 1, 1, 1), True),
        *((thing(), (state, 1, 1, 1), True) for state in TaskState if state is not TaskState.RUNNING),
    ],
)
def test_only_things_of_a_live_run_stay(
    found: Resource, row: tuple[TaskState, int, int, int], gone: bool
) -> None:
    assert stale([found], Owners({"t": row})) == ([found] if gone else [])


def test_a_thing_of_an_unknown_task_goes() -> None:
    assert stale([thing("unknown")], Owners()) == [thing("unknown")]


def test_a_sandbox_stays_while_its_node_an_attempt_or_this_node_wants_it() -> None:
    sandbox = Resource("sandbox", "id", "h", state="running", node="node")
    assert stale([sandbox], Owners()) == [sandbox]
    assert stale([sandbox], Owners(sandboxes={"h"})) == []
    assert stale([sandbox], Owners(nodes={"node"})) == []
    assert stale([sandbox], Owners(), {"h"}) == []
    assert stale([sandbox], Owners(sandboxes={"other"}, nodes={"another"}), {"more"}) == [sandbox]


def test_a_runs_things_are_known_by_their_names() -> None:
    run, volumes = RunKey("t", 2, 3), (("v0", "/tmp"), ("v1", "/d"))
    order = Order("i", "j", run, 1, 1, "main", LinkSpec(image="image"), volumes=volumes)
    assert [(one.kind, one.name, one.run) for one in run_things(order)] == [
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
