"""Logs: under the token, in order, within bounds, with a position; read by pages, from the end, whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.model.records import LogPosition, StreamPosition, Task, Token
from engine.model.states import TaskState
from engine.store import links, log_lines, logs, tasks
from engine.store.database import Database
from engine.store.logs import Frame
from tests.support import log_rows
from tests.support.task_rows import count, running, submitted

LIMIT = 1 << 20
STAMP = "2026-01-02T03:04:05.123456789Z"


def _append(
    db: Database,
    task: Task,
    *texts: str | Frame,
    token: Token | None = None,
    link: int = 0,
    limit: int = LIMIT,
    position: LogPosition | None = None,
) -> bool:
    frames = [text if isinstance(text, tuple) else (1, STAMP, text) for text in texts]
    pieces = [logs.piece(frames)] if frames else []
    with db.begin() as c:
        return log_rows.append(
            c, token or task.token, task.origin, link, pieces, position or LogPosition(), limit
        )


def _texts(db: Database, task: Task) -> list[str]:
    with db.read() as c:
        return [text for chunk in logs.chunks(c, task.id, limit=1000) for _, _, text in chunk.frames]


def _page(db: Database, task: Task, number: int, size: int, q: str = "") -> tuple[list[str], list[int], int]:
    with db.read() as c:
        found, total = log_lines.page(c, task.id, number, size, q)
    return [line.frame[2] for line in found], [line.number for line in found], total


def _tail(db: Database, task: Task, n: int) -> list[str]:
    with db.read() as c:
        return [line.frame[2] for line in log_lines.tail(c, task.id, n)]


def test_what_is_written_is_read_in_order(db: Database) -> None:
    task = running(db)
    assert _append(db, task, "one\n", (2, STAMP, "two\n"))
    assert _append(db, task, "three\n")
    with db.read() as c:
        first, second = logs.chunks(c, task.id)
    assert first.frames == ((1, STAMP, "one\n"), (2, STAMP, "two\n"))
    assert (first.seq, first.first_line, second.seq, second.first_line) == (0, 0, 1, 2)
    assert (second.attempt, second.origin, second.link) == (task.attempt, task.origin, 0)


@pytest.mark.parametrize(
    ("attempt", "delivery"),
    [(1, 2), (2, 1), (1, 0), (0, 1)],
    ids=["newer", "next attempt", "older", "former"],
)
def test_a_writer_with_another_token_writes_nothing(db: Database, attempt: int, delivery: int) -> None:
    task = running(db)
    position = LogPosition(StreamPosition(STAMP, 3))
    assert not _append(db, task, "x", token=Token(task.id, attempt, delivery), position=position)
    with db.read() as c:
        assert links.log_position(c, task.run, 0) == LogPosition()
    assert count(db, "log_chunks") == count(db, "log_heads") == 0


def test_a_writer_of_a_task_that_does_not_run_writes_nothing(db: Database) -> None:
    waiting, ended = submitted(db), running(db)
    with db.begin() as c:
        assert tasks.end(c, ended.token, TaskState.COMPLETED)
    assert not _append(db, waiting, "x")
    assert not _append(db, ended, "x")
    assert count(db, "log_chunks") == 0


def test_the_position_moves_with_the_frames_and_for_each_stream_alone(db: Database) -> None:
    task = running(db)
    position = LogPosition(StreamPosition(STAMP, 2), StreamPosition("2026-01-01T00:00:00.000000001Z", 1))
    assert _append(db, task, "x", position=position)
    with db.read() as c:
        assert links.log_position(c, task.run, 0) == position
        assert links.log_position(c, task.run, 1) == LogPosition()


def test_a_write_that_is_rolled_back_leaves_no_gap(db: Database) -> None:
    task = running(db)
    with pytest.raises(ZeroDivisionError), db.begin() as c:
        log_rows.append(
            c, task.token, task.origin, 0, [logs.piece([(1, STAMP, "lost")])], LogPosition(), LIMIT
        )
        raise ZeroDivisionError
    _append(db, task, "kept")
    with db.read() as c:
        assert [(chunk.seq, chunk.first_line) for chunk in logs.chunks(c, task.id)] == [(0, 0)]


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b\n", "\ud800", "\udcff\udcfe", "é 漢 🚀\n", '"\\\n', "\x1b[31m", "\r\n"]
)
def test_any_text_comes_back_as_it_was(db: Database, text: str) -> None:
    task = running(db)
    long = "x" * 2000 + text
    _append(db, task, text)
    _append(db, task, long, long)
    assert _texts(db, task) == [text, long, long]


def _lines(db: Database, groups: Sequence[int]) -> Task:
    task, number = running(db), 0
    for size in groups:
        _append(db, task, *(f"line {number + k}\n" for k in range(size)))
        number += size
    return task


@pytest.mark.parametrize("size", [1, 3, 7, 20, 100])
def test_pages_hold_every_line_once_and_count_them(db: Database, size: int) -> None:
    task = _lines(db, [3, 1, 9, 4, 25])
    seen: list[str] = []
    for number in range(1, -(-42 // size) + 2):
        texts, numbers, total = _page(db, task, number, size)
        assert total == 42
        assert numbers == list(range(len(seen) + 1, len(seen) + 1 + len(texts)))
        seen += texts
    assert seen == [f"line {number}\n" for number in range(42)]


def test_a_search_in_a_log_counts_what_fits(db: Database) -> None:
    task = _lines(db, [20, 20])
    texts, numbers, total = _page(db, task, 2, 2, "LINE 1")
    assert (texts, numbers, total) == (["line 11\n", "line 12\n"], [12, 13], 11)
    assert _page(db, task, 1, 2, "%") == ([], [], 0)


def test_a_task_without_a_log_has_an_empty_one(db: Database) -> None:
    task = running(db)
    assert _page(db, task, 1, 10) == ([], [], 0)
    assert _tail(db, task, 10) == []
    with db.read() as c:
        assert logs.head(c, task.id) == logs.Head()


@pytest.mark.parametrize("n", [0, 1, 5, 41, 42, 100])
def test_the_tail_is_the_last_lines(db: Database, n: int) -> None:
    task = _lines(db, [3, 1, 9, 4, 25])
    assert _tail(db, task, n) == [f"line {number}\n" for number in range(42)][42 - min(n, 42) :]


def test_a_long_line_counts_as_one_in_the_tail(db: Database) -> None:
    task = running(db)
    _append(db, task, "first\n", "a" * 100, "b" * 100)
    _append(db, task, "c\n", (0, "", "a note of ours\n"), "no line feed")
    assert _tail(db, task, 1) == ["no line feed"]
    assert _tail(db, task, 2) == ["a" * 100, "b" * 100, "c\n", "no line feed"]
    assert _tail(db, task, 3)[0] == "first\n"


def test_chunks_go_on_behind_the_last_one(db: Database) -> None:
    task = _lines(db, [1] * 40)
    seen: list[str] = []
    after = -1
    while True:
        with db.read() as c:
            batch = logs.chunks(c, task.id, after)
        if not batch:
            break
        assert len(batch) <= logs.BATCH
        seen += [text for chunk in batch for _, _, text in chunk.frames]
        after = batch[-1].seq
    assert seen == [f"line {number}\n" for number in range(40)]


def test_two_links_share_one_numbering(db: Database) -> None:
    task = running(db)
    _append(db, task, "pre\n", link=0)
    _append(db, task, "main\n", link=1)
    with db.read() as c:
        assert [(chunk.link, chunk.seq, chunk.first_line) for chunk in logs.chunks(c, task.id)] == [
            (0, 0, 0),
            (1, 1, 1),
        ]
