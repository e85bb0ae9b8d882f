"""Logs, compared byte by byte with what the container wrote, whatever happens to the reader."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from engine.errors import RuntimeUnavailable
from engine.model.log_gap import is_gap
from engine.model.records import LogFrame
from engine.runtime.base import Cause, Control, Detached, Order, PreparedState
from engine.runtime.docker import follow
from engine.runtime.docker.client import Client
from engine.runtime.docker.logs import Follower
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink, begin, run
from tests.support.waiting import wait_until

Orders = Callable[..., Order]
BOTH = """
i=0; while [ $i -lt 4000 ]; do echo "out $i"; i=$((i+1)); done &
i=0; while [ $i -lt 4000 ]; do echo "err $i" >&2; i=$((i+1)); done
wait
"""
BOTH_OUT = b"".join(b"out %d\n" % i for i in range(4000))
BOTH_ERR = b"".join(b"err %d\n" % i for i in range(4000))


def test_both_streams_at_full_speed_arrive_complete_and_in_order(
    runtime: DockerRuntime, order: Orders
) -> None:
    sink = KeepingSink()
    assert run(runtime, order(run=BOTH), sink).ok
    assert sink.text(1) == BOTH_OUT
    assert sink.text(2) == BOTH_ERR


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_a_long_line_arrives_complete(runtime: DockerRuntime, order: Orders, size: int) -> None:
    sink = KeepingSink()
    script = f"head -c {size} /dev/zero | tr '\\0' x; echo; echo after"
    assert run(runtime, order(run=script), sink).ok
    assert sink.text(1) == b"x" * size + b"\nafter\n"


def test_a_last_line_without_a_line_feed_arrives(runtime: DockerRuntime, order: Orders) -> None:
    sink = KeepingSink()
    run(runtime, order(run="printf 'a\\nb'; printf c >&2"), sink)
    assert (sink.text(1), sink.text(2)) == (b"a\nb", b"c")


class Killed(Exception):
    """Death of the reader."""


@dataclass
class MortalSink:
    """Sink over a stored log that dies after it stored some frames of a batch."""

    kept: KeepingSink
    lives_for: int

    def position(self) -> object:
        return self.kept.position()

    def note(self, text: str) -> None:
        self.kept.note(text)

    def write(self, frames: Sequence[LogFrame]) -> None:
        if self.lives_for < len(frames):
            self.kept.write(frames[: max(self.lives_for, 0)])
            self.lives_for = 0
            raise Killed
        self.lives_for -= len(frames)
        self.kept.write(frames)


def follow_until_killed(docker: Client, container_id: str, sink: MortalSink) -> None:
    follower = Follower(docker, container_id, sink, 0)  # type: ignore[arg-type]
    follower.start()
    follower._thread.join(20)


def test_a_reader_killed_ten_times_in_the_middle_stores_every_byte_once(
    runtime: DockerRuntime, order: Orders, docker: Client, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(20261125)
    long_line = "head -c 200000 /dev/zero | tr '\\0' y; echo; "
    wanted = order(run=long_line + "sleep 0.2; " + BOTH + long_line)
    kept, control = KeepingSink(), Control()
    running = begin(runtime, wanted, KeepingSink())
    for _ in range(10):
        before = len(kept.frames)
        follow_until_killed(docker, running.prepared.container_id, MortalSink(kept, chance.randrange(1, 700)))
        assert len(kept.frames) > before, "this reader stored nothing, so it was not killed in the middle"
    running.end()
    assert len(kept.frames) < 8000, "the readers were killed after everything was stored"
    adopted = runtime.prepare(replace(wanted, delivery=2), kept, control)
    runtime.go(adopted, kept, control)
    assert kept.text(1) == b"y" * 200_000 + b"\n" + BOTH_OUT + b"y" * 200_000 + b"\n"
    assert kept.text(2) == BOTH_ERR


def test_a_sink_that_fails_lets_go_of_the_container_and_its_log_is_read_on(
    runtime: DockerRuntime, order: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    kept, wanted = KeepingSink(), order(run="echo a; sleep 0.5; echo b; exit 5")
    running = begin(runtime, wanted, MortalSink(kept, 0))  # type: ignore[arg-type]
    with pytest.raises(Detached):
        running.end()
    assert caplog.text.count("Traceback") == 1
    assert running.control.detached
    successor = begin(runtime, replace(wanted, delivery=2), kept)
    assert successor.end().exit_code == 5
    assert kept.text(1) == b"a\nb\n"


def test_a_defect_after_the_container_ended_leaves_no_end(runtime: DockerRuntime, order: Orders) -> None:
    wanted = order(run="echo a; exit 5")
    kept = KeepingSink()
    with pytest.raises((Detached, RuntimeUnavailable)):
        begin(runtime, wanted, MortalSink(kept, 0)).end()  # type: ignore[arg-type]
    adopted = runtime.prepare(replace(wanted, delivery=2), kept, Control())
    wait_until(
        lambda: runtime.prepare(replace(wanted, delivery=2), kept, Control()).state is PreparedState.EXITED,
        10,
    )
    with pytest.raises(RuntimeUnavailable, match="was not read to its end"):
        begin(runtime, wanted, MortalSink(kept, 0), replace(adopted, state=PreparedState.EXITED)).end()  # type: ignore[arg-type]


def test_a_background_child_with_open_standard_output_does_not_delay_the_end(
    runtime: DockerRuntime, order: Orders
) -> None:
    sink = KeepingSink()
    running = begin(runtime, order(run="sleep 60 & echo told"), sink)
    assert running.end(8).ok
    assert sink.text(1) == b"told\n"


def test_a_sink_that_blocks_stops_the_reader_and_loses_nothing(runtime: DockerRuntime, order: Orders) -> None:
    gate = threading.Event()

    class Slow(KeepingSink):
        def write(self, frames: Sequence[LogFrame]) -> None:
            gate.wait(10)
            super().write(frames)

    sink = Slow()
    running = begin(runtime, order(run="seq 60000"), sink)
    wait_until(lambda: not running.thread.is_alive() or running.sink is sink, 5)
    gate.set()
    assert running.end().ok
    assert sink.text(1) == b"".join(b"%d\n" % i for i in range(1, 60001))


def test_a_time_out_while_the_rest_of_the_log_is_read_cuts_nothing(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    gate = threading.Event()

    class Slow(KeepingSink):
        def write(self, frames: Sequence[LogFrame]) -> None:
            assert gate.wait(20)
            super().write(frames)

    running = begin(runtime, order(run="seq 100000"), Slow())
    wait_until(
        lambda: docker.api.inspect_container(running.prepared.container_id)["State"]["Status"] == "exited", 20
    )
    # The thread has seen the end, and reads on.
    running.thread.join(0.5)
    running.control.kill(Cause.TIMEOUT)
    gate.set()
    outcome = running.end()
    assert (outcome.cause, outcome.exit_code) == (Cause.EXITED, 0)
    assert running.sink.text(1) == b"".join(b"%d\n" % i for i in range(1, 100001))


def test_the_log_of_a_cancelled_container_is_read_for_a_bounded_time(
    runtime: DockerRuntime, order: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "READ_SECONDS", 0.3)
    gate, taken = threading.Event(), threading.Event()

    class Stuck(KeepingSink):
        def write(self, frames: Sequence[LogFrame]) -> None:
            taken.set()
            gate.wait(20)
            super().write(frames)

    running = begin(runtime, order(run="echo up; sleep 60"), Stuck())
    assert taken.wait(20)
    running.control.kill(Cause.CANCELLED)
    assert running.end().cause is Cause.CANCELLED
    gate.set()
    assert [is_gap(0, note) for note in running.sink.notes] == [True]
    assert "longer than 0.3 s after the cancel" in running.sink.notes[0]
