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
from engine.store import logs, tables
from engine.worker.execute import log_writer
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
    assert not sink.is_behind, "a successor stores the log"
    assert _text(world, old.token.task_id) == ""


def test_a_store_that_is_away_costs_no_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found, append, away = world.confirmed(), logs.append, threading.Event()
    tried = threading.Event()

    def failing(*args: Any) -> int | None:
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


def test_a_chunk_whose_commit_was_not_answered_is_stored_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment, append, lost = (
        world.confirmed(),
        log_writer.append_log,
        [StoreUnavailable("the answer is lost")],
    )

    def unanswered_once(*args: Any) -> int | None:
        is_stored = append(*args)
        if lost:
            raise lost.pop()
        return is_stored

    monkeypatch.setattr(log_writer, "append_log", unanswered_once)
    sink = LogWriter(world.installation, assignment, Control())
    sink.write(_frames("one\n", "two\n"))
    wait_until(lambda: not lost, 10)
    sink.write(_frames("three\n", stream=2))
    assert sink.close(20)
    assert _text(world, assignment.token.task_id) == "one\ntwo\nthree\n"


def test_a_chunk_whose_commit_comes_late_is_stored_once(world: World) -> None:
    assignment, append = world.confirmed(), log_writer.append_log
    pieces, position = [logs.piece([(1, "s", "one\n")])], LogPosition(StreamPosition("s", 1))
    bounds, answers = logs.Bounds(1 << 20, 0), []
    order = assignment.order
    again = threading.Thread(
        target=lambda: answers.append(append(world.installation, assignment, pieces, position, 0)),
        daemon=True,
    )
    with world.db.begin() as c:
        stored = logs.append(c, assignment.token, order.run.origin, 0, pieces, position, bounds, 0)
        # The connection broke after COMMIT was sent: the server has not done it when the writer tries again.
        again.start()
        again.join(0.5)
        assert again.is_alive(), "the second call did not wait for the first"
    again.join(20)
    assert answers == [stored] == [1]
    assert _text(world, assignment.token.task_id) == "one\n"


def test_a_writer_whose_stored_chunks_are_gone_is_behind(world: World) -> None:
    assignment = world.confirmed()
    sink = LogWriter(world.installation, assignment, Control())
    for text in ("one\n", "two\n"):
        sink.write(
            [
                LogFrame(
                    1, f"2026-01-01T00:00:00.{len(_text(world, assignment.token.task_id)):09}Z", text.encode()
                )
            ]
        )
        wait_until(lambda text=text: text in _text(world, assignment.token.task_id), 10)  # type: ignore[misc]
    # As after a restored backup.
    with world.db.begin() as c:
        c.execute(tables.log_chunks.delete().where(tables.log_chunks.c.seq == 1))
        c.execute(tables.log_heads.update().values(next_seq=1, next_line=1))
    sink.write(_frames("three\n"))
    assert not sink.close(20)
    assert sink.is_behind, "a successor reads the log from the stored position"
    assert _text(world, assignment.token.task_id) == "one\n"


def test_a_note_whose_commit_was_not_answered_is_stored_once(world: World) -> None:
    assignment, append = world.confirmed(), log_writer.append_log
    pieces = [logs.piece([(0, "", "pulling\n")])]
    for _ in range(2):
        assert append(world.installation, assignment, pieces, LogPosition(), 0) == 1
    assert append(world.installation, assignment, pieces, LogPosition(), 1) == 2
    assert _text(world, assignment.token.task_id) == "pulling\n" * 2


def test_what_waits_is_bounded_as_it_is_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the shortest lines the stamps take forty times as much as the text.
    monkeypatch.setattr(log_writer, "_MOST_CHARACTERS", 10_000)
    sizes, append, gate = [], logs.append, threading.Event()

    def slow(c: Any, token: Any, origin: int, link: int, pieces: Any, *args: Any) -> int | None:
        gate.wait(20)
        sizes.append(sum(len(piece.text) for piece in pieces))
        return append(c, token, origin, link, pieces, *args)

    monkeypatch.setattr(logs, "append", slow)
    sink = LogWriter(world.installation, world.confirmed(), Control())
    taken: list[int] = []

    def write() -> None:
        for number in range(3000):
            sink.write([LogFrame(1, f"2026-01-01T00:00:00.{number:09}Z", b"\n")])
            taken.append(number)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    wait_until(lambda: len(taken) > 200, 10)
    writer.join(0.5)
    assert writer.is_alive() and len(taken) < 1000, "the reader was not held back"
    gate.set()
    writer.join(20)
    assert sink.close(20)
    assert max(sizes) < 11_000


def test_bytes_that_are_not_text_are_kept_and_told_once(world: World) -> None:
    assignment = world.confirmed()
    sink = LogWriter(world.installation, assignment, Control())
    for data in (b"fine\n", b"bad \xff\n", b"bad \xfe\n"):
        sink.write([LogFrame(1, "s", data)])
    assert sink.close(20)
    assert _text(world, assignment.token.task_id) == (
        "fine\nthe container writes bytes that are not UTF-8: U+FFFD stands for each, but the log as text has them\n"
        "bad \udcff\nbad \udcfe\n"
    )


def test_a_defect_that_stays_detaches_the_link_and_keeps_nobody_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> bool:
        raise ValueError("a defect")

    monkeypatch.setattr(logs, "append", broken)
    monkeypatch.setattr(log_writer, "_MOST_DEFECTS", 2)
    control = Control()
    sink = LogWriter(world.installation, world.confirmed(), control)
    written = threading.Thread(
        target=lambda: [sink.write([LogFrame(1, "s", b"x" * (64 << 10))]) for _ in range(40)], daemon=True
    )
    written.start()
    wait_until(lambda: not written.is_alive(), 20)
    assert not sink.close(5)
    assert sink.is_behind
    assert control.detached
    assert caplog.text.count("Traceback") == 1


def test_a_defect_that_passes_costs_no_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assignment, append, defects = world.confirmed(), logs.append, [ValueError("a defect")]

    def broken_once(*args: Any) -> int | None:
        if defects:
            raise defects.pop()
        return append(*args)

    monkeypatch.setattr(logs, "append", broken_once)
    sink = LogWriter(world.installation, assignment, Control())
    sink.write(_frames("kept\n"))
    assert sink.close(20)
    assert not sink.is_behind
    assert _text(world, assignment.token.task_id) == "kept\n"


def test_a_writer_thread_that_died_is_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(*_: Any) -> bool:
        raise SystemExit

    monkeypatch.setattr(logs, "append", dying)
    sink = LogWriter(world.installation, world.confirmed(), Control())
    sink.write(_frames("lost\n"))
    assert not sink.close(20)
    assert sink.is_behind


def test_a_detached_writer_without_its_database_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> bool:
        raise StoreUnavailable("test")

    monkeypatch.setattr(logs, "append", away)
    control = Control()
    control.detach()
    sink = LogWriter(world.installation, world.confirmed(), control)
    sink.write(_frames("missing\n"))
    assert not sink.close(20)
    assert sink.is_behind
