"""Docker for tests: whether it is there, the images it needs, and orders and sinks to try a runtime with."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.errors import FerrymanError
from engine.model import names
from engine.model.records import LogFrame, LogPosition, StreamPosition
from engine.runtime.base import Control, Order, Outcome, Prepared, Runtime
from engine.runtime.docker.client import Client

ROOT = Path(__file__).resolve().parents[2]
BUSYBOX = "busybox:1.36"
ALPINE = "alpine:3.18.3"
UBUNTU = "ubuntu:mantic"
FFMPEG = "jrottenberg/ffmpeg:3.4-scratch"


def require_docker(*images: str) -> Client:
    """A client of the daemon, with the images there. Without a daemon: skipped at home, failed when CI=true."""
    client = Client(os.environ.get("FERRYMAN_DOCKER_HOST", ""))
    try:
        client.api.ping()
    except FerrymanError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Docker: {exc}")
        pytest.skip(f"no Docker: {exc}")
    _provide(images)
    return client


@cache
def _provide(images: Sequence[str]) -> None:
    # Never removed here: they are labelled, and the next run wants them.
    done = subprocess.run(
        [str(ROOT / "deploy" / "images"), "--quiet", *images],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"deploy/images ended with {done.returncode}: {done.stderr}")


def an_order(installation: str, **values: Any) -> Order:
    """An order for a task of its own: `sh` in busybox, small limits; `values` change it."""
    task_id = values.pop("task_id", uuid.uuid4().hex)
    order = Order(
        installation=installation,
        job_id="j" * 32,
        task_id=task_id,
        attempt=1,
        delivery=1,
        origin=1,
        index=0,
        kind="main",
        name="",
        image=BUSYBOX,
        memory_bytes=64 << 20,
    )
    return named(replace(order, **values))


def named(order: Order) -> Order:
    """The order with the name that its ids make."""
    name = names.container(order.installation, order.task_id, order.attempt, order.origin, order.index)
    return replace(order, name=name)


@dataclass
class KeepingSink:
    """A LogSink that keeps all it gets, and its position as the store would."""

    frames: list[LogFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def position(self) -> LogPosition:
        return LogPosition(self._of(1), self._of(2))

    def write(self, frames: Sequence[LogFrame]) -> None:
        self.frames.extend(frames)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def text(self, stream: int) -> bytes:
        """All that one stream wrote."""
        return b"".join(frame.data for frame in self.frames if frame.stream == stream)

    def _of(self, stream: int) -> StreamPosition:
        stamps = [frame.stamp for frame in self.frames if frame.stream == stream]
        if not stamps:
            return StreamPosition()
        count = 0
        for stamp in reversed(stamps):
            if stamp != stamps[-1]:
                break
            count += 1
        return StreamPosition(stamps[-1], count)


@dataclass
class Running:
    """A `go` in a thread of its own, as a worker runs it."""

    prepared: Prepared
    sink: KeepingSink
    control: Control
    thread: threading.Thread
    outcome: Outcome | None = None
    error: Exception | None = None

    def end(self, seconds: float = 20.0) -> Outcome:
        """Its outcome; raises what `go` raised, and AssertionError when it takes longer."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"go did not end within {seconds} s"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


def begin(
    runtime: Runtime, order: Order, sink: KeepingSink | None = None, prepared: Prepared | None = None
) -> Running:
    """Prepare here, and go in a thread."""
    sink, control = sink or KeepingSink(), Control()
    prepared = prepared or runtime.prepare(order, sink, control)

    def body() -> None:
        try:
            running.outcome = runtime.go(prepared, sink, control)
        except Exception as exc:
            # Whatever it is, `end` raises it in the test's own thread.
            running.error = exc

    running = Running(prepared, sink, control, threading.Thread(target=body, daemon=True))
    running.thread.start()
    return running


def run(runtime: Runtime, order: Order, sink: KeepingSink | None = None) -> Outcome:
    """Prepare and go, to the end."""
    sink, control = sink or KeepingSink(), Control()
    return runtime.go(runtime.prepare(order, sink, control), sink, control)
