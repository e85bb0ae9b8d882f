"""Log writer over real rows: chunks under the token, a store that fails, a refused token."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.errors import StoreUnavailable
from engine.lifecycle.claim import resume
from engine.lifecycle.take_over import self_take_over
from engine.model.records import LogFrame, LogPosition, StreamPosition
from engine.runtime.base import Control
from engine.store import logs
from engine.worker.execute.log_writer import LogWriter
from tests.support.callers import by
from tests.support.verb_world import World
from tests.support.waiting import wait_until


def _frames(*texts: str, stream: int = 1) -> list[LogFrame]:
    return [LogFrame(stream, f"2026-01-01T00:00:00.{n:09}Z", text.encode()) for n, text in enumerate(texts)]


def _text(world: World, task_id: str) -> str:
    with world.db.read() as c:
        return "".join(text for chunk in logs.chunks(c, task_id) for _, _, text in chunk.frames)


def test_what_was_written_is_stored_in_order_with_its_position(world: World) -> None:
    found = world.confirmed()
    sink = LogWriter(world.installation, found, Control())
    sink.write(_frames("one\n", "two\n"))
    sink.note("a word of ours")
    sink.write(_frames("bad\n", stream=2))
    assert sink.close(20)
    assert _text(world, found.token.task_id) == "one\ntwo\na word of ours\nbad\n"
    token = self_take_over(world.installation, by("n1"), found.token, "test")
    again = resume(world.installation, by("n1"), token) if token is not None else None
    assert again is not None
    successor = LogWriter(world.installation, again, Control())
    assert successor.position() == sink.position()
    assert successor.position().stdout == StreamPosition("2026-01-01T00:00:00.000000001Z", 1)
    assert successor.close(20)


def test_a_link_without_output_costs_neither_a_thread_nor_a_question(world: World) -> None:
    before = threading.active_count()
    sink = LogWriter(world.installation, world.confirmed(), Control())
    assert threading.active_count() == before
    assert sink.position() == LogPosition()
    assert sink.close(0)


def test_a_refused_token_ends_the_shipping_and_keeps_nobody_waiting(world: World) -> None:
    old = world.confirmed()
    sink = LogWriter(world.installation, old, Control())
    token = self_take_over(world.installation, by("n1"), old.token, "test")
    assert token is not None and resume(world.installation, by("n1"), token) is not None
    # Far more than may wait: a writer that was not told would hang here.
    for _ in range(40):
        sink.write([LogFrame(1, "s", b"x" * (64 << 10))])
    assert not sink.close(20)
    assert _text(world, old.token.task_id) == ""


def test_a_store_that_is_away_costs_no_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found, append, away = world.confirmed(), logs.append, threading.Event()
    tried = threading.Event()

    def failing(*args: Any) -> bool:
        if not away.is_set():
            tried.set()
            raise StoreUnavailable("test")
        return append(*args)

    monkeypatch.setattr(logs, "append", failing)
    sink = LogWriter(world.installation, found, Control())
    sink.write(_frames("kept\n"))
    assert tried.wait(10)
    away.set()
    assert sink.close(20)
    assert _text(world, found.token.task_id) == "kept\n"


def test_a_defect_in_storing_lets_the_link_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bool:
        raise ValueError("a defect")

    monkeypatch.setattr(logs, "append", broken)
    sink = LogWriter(world.installation, world.confirmed(), Control())
    written = threading.Thread(
        target=lambda: [sink.write([LogFrame(1, "s", b"x" * (64 << 10))]) for _ in range(40)], daemon=True
    )
    written.start()
    wait_until(lambda: not written.is_alive(), 20)
    assert not sink.close(5)
