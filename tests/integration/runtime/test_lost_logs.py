"""Logs that are read late: whole while Docker's buffer holds them, else with a gap note for whatever is missing."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from engine.model.log_gap import GAP
from engine.model.records import LogFrame
from engine.runtime.base import Control, Order
from engine.runtime.docker import logs, options
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink, begin
from tests.support.waiting import wait_until

Orders = Callable[..., Order]
#: 200,000 lines: 7 MB in Docker's files.
LINES = 200_000


@dataclass
class LateSink(KeepingSink):
    """Sink that takes the first frames, and the next only when it may; it remembers where notes came."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    #: Number of frames before each note.
    noted_after: list[int] = field(default_factory=list)

    def write(self, frames: Sequence[LogFrame]) -> None:
        super().write(frames)
        assert self.may_go_on.wait(60)

    def note(self, text: str) -> None:
        super().note(text)
        self.noted_after.append(len(self.frames))


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Docker keep 2 MB of a log, with the smallest bound that FERRYMAN_LOG_BYTES may have."""
    monkeypatch.setattr(options, "LEAST_LOG_FILE_BYTES", 1)
    monkeypatch.setattr(logs, "LAG_SECONDS", 0.2)


def ended(docker: Client, container_id: str) -> bool:
    return bool(docker.api.inspect_container(container_id)["State"]["Status"] == "exited")


def check_accounted(sink: LateSink, count: int) -> int:
    """Check that each line from 1 to `count` is there once or in a noted gap; return how many are missing."""
    numbers = [int(frame.data) for frame in sink.frames]
    assert numbers == sorted(set(numbers)), "lines came twice or out of order"
    jumps = [at for at, (one, next_one) in enumerate(itertools.pairwise(numbers)) if next_one != one + 1]
    assert [at + 1 for at in jumps] == sink.noted_after
    for at, text in zip(jumps, sink.notes, strict=True):
        after, before = re.findall(r"\d{4}-\S+Z", text)
        assert text.startswith(GAP) and (after, before) == (sink.frames[at].stamp, sink.frames[at + 1].stamp)
    assert (numbers[0], numbers[-1]) == (1, count)
    return count - len(numbers)


def test_what_docker_dropped_before_a_blocked_sink_took_it_is_a_gap_note(
    make_runtime: Callable[..., DockerRuntime], order: Orders, docker: Client, small_buffer: None
) -> None:
    sink = LateSink()
    running = begin(
        make_runtime(log_bytes=1 << 16), order(run=f"echo 1; sleep 1; seq 2 {LINES}; sleep 1"), sink
    )
    wait_until(lambda: ended(docker, running.prepared.container_id), 60)
    sink.may_go_on.set()
    assert running.end(60).ok
    assert check_accounted(sink, LINES) > LINES // 4


def test_what_docker_dropped_before_an_adopter_came_is_a_gap_note(
    make_runtime: Callable[..., DockerRuntime], order: Orders, docker: Client, small_buffer: None
) -> None:
    runtime, first = make_runtime(log_bytes=1 << 16), LateSink()
    wanted = order(run=f"echo 1; sleep 1; seq 2 {LINES}")
    running = begin(runtime, wanted, first)
    wait_until(lambda: first.frames, 20)
    running.control.detach()
    wait_until(lambda: ended(docker, running.prepared.container_id), 60)
    adopter = LateSink(frames=list(first.frames))
    adopter.may_go_on.set()
    first.may_go_on.set()
    adopted = runtime.prepare(replace(wanted, delivery=2), adopter, Control())
    assert runtime.go(adopted, adopter, Control()).ok
    assert check_accounted(adopter, LINES) > LINES // 4


def test_the_buffer_holds_what_the_store_would_keep(
    make_runtime: Callable[..., DockerRuntime],
    order: Orders,
    docker: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "LEAST_LOG_FILE_BYTES", 1)
    # The shortest lines: more than a dozen files' worth if Docker counted as the store does.
    sink, bound = LateSink(), 1 << 18
    running = begin(make_runtime(log_bytes=bound), order(run=f"yes '' | head -c {bound}"), sink)
    wait_until(lambda: ended(docker, running.prepared.container_id), 60)
    sink.may_go_on.set()
    assert running.end(60).ok
    assert sink.text(1) == b"\n" * bound
    assert not sink.notes
