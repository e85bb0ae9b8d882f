"""Log over its bound: the first half and the newest lines stay, and a gap note stands between them."""

from __future__ import annotations

import random

import pytest

from engine.model.log_gap import is_gap
from engine.model.records import LogPosition, StreamPosition, Task, Token
from engine.store import links, log_lines, logs
from engine.store.database import Database
from engine.store.log_lines import Line
from engine.store.logs import Chunk
from tests.support import log_rows
from tests.support.task_rows import running

STAMP = "2026-01-02T03:04:05.123456789Z"
#: Of lines of ten bytes: four at the head, four at the end.
LIMIT = 80


def _append(
    db: Database,
    task: Task,
    *texts: str,
    limit: int = LIMIT,
    position: LogPosition | None = None,
    link: int = 0,
) -> bool:
    frames = [(1, STAMP, text) for text in texts]
    with db.begin() as c:
        pieces = [logs.piece(frames)]
        return log_rows.append(c, task.token, task.origin, link, pieces, position or LogPosition(), limit)


def _line(number: int) -> str:
    return f"line {number:04}\n"


def _long(db: Database, count: int, at_once: int = 3) -> Task:
    """Store a task that wrote `count` lines of ten bytes."""
    task = running(db)
    for first in range(1, count + 1, at_once):
        _append(db, task, *map(_line, range(first, min(first + at_once, count + 1))))
    return task


def _chunks(db: Database, task: Task, after: int = -1) -> list[Chunk]:
    with db.read() as c:
        return logs.chunks(c, task.id, after, 10_000)


def _texts(db: Database, task: Task, after: int = -1) -> list[str]:
    return [text for chunk in _chunks(db, task, after) for _, _, text in chunk.frames]


def _note(missing_bytes: int) -> str:
    return f"Log gap: {missing_bytes} bytes of the log are missing in all (bound: FERRYMAN_LOG_BYTES)\n"


def _readable(count: int) -> list[tuple[int, str]]:
    """Number and text of what is kept of so many lines, as `_long` wrote them."""
    head = [(n, _line(n)) for n in range(1, 5)]
    tail = [(n, _line(n)) for n in range(count - 3, count + 1)]
    return [*head, (count - 4, _note(10 * (count - 8))), *tail]


def _seen(lines: list[Line]) -> list[tuple[int, str]]:
    return [(line.number, line.frame[2]) for line in lines]


def test_the_first_half_and_the_newest_stay_and_the_gap_note_is_between(db: Database) -> None:
    task = _long(db, 30)
    assert _texts(db, task) == [text for _, text in _readable(30)]
    with db.read() as c:
        assert logs.head(c, task.id) == logs.Head(30, 80, 220)
    seqs = [chunk.seq for chunk in _chunks(db, task)]
    assert seqs[-5:] == list(range(seqs[-1] - 4, seqs[-1] + 1)), "the note has the number before the next"
    assert seqs[: len(seqs) - 5] == list(range(len(seqs) - 5))


def test_a_log_of_just_its_bound_is_whole(db: Database) -> None:
    task = _long(db, 8)
    assert _texts(db, task) == [_line(n) for n in range(1, 9)]
    with db.read() as c:
        assert logs.head(c, task.id) == logs.Head(8, 80, 0)
    _append(db, task, _line(9))
    assert _texts(db, task) == [_line(n) for n in (1, 2, 3, 4)] + [_note(10)] + [
        _line(n) for n in (6, 7, 8, 9)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_written_the_bytes_are_bounded_and_both_ends_are_right(db: Database, seed: int) -> None:
    dice = random.Random(seed)
    limit = dice.choice([64, 100, 333, 1000])
    task = running(db)
    written: list[str] = []
    for _ in range(40):
        texts = [
            "x" * dice.randint(0, limit // 6) + f"{len(written) + k}\n" for k in range(dice.randint(1, 9))
        ]
        written += texts
        _append(db, task, *texts, limit=limit)
        _check_both_ends(db, task, written, limit)


def _check_both_ends(db: Database, task: Task, written: list[str], limit: int) -> None:
    texts = _texts(db, task)
    with db.read() as c:
        head = logs.head(c, task.id)
    kept = [text for text in texts if not is_gap(0, text)]
    size, total = sum(map(len, kept)), sum(map(len, written))
    assert (head.lines, head.bytes, head.missing_bytes) == (len(written), size, total - size)
    assert size <= limit
    if total <= limit:
        assert texts == written
        return
    (at,) = [n for n, text in enumerate(texts) if is_gap(0, text)]
    assert texts[:at] == written[:at] and texts[at + 1 :] == written[at + 1 - len(texts) :]
    assert sum(map(len, written[:at])) <= limit // 2 < sum(map(len, written[: at + 1])), (
        "half of it is the head"
    )
    # A gap grows by pieces of an eighth of the bound, or by one line that is longer.
    assert size > limit - max(limit // 8, limit // 6 + 4)


def test_the_bound_counts_bytes_not_characters(db: Database) -> None:
    task = running(db)
    _append(db, task, "ééé", "é", "ab", limit=14)
    _append(db, task, "é", "é", "é", limit=14)
    assert _texts(db, task) == ["ééé", _note(2), "ab", "é", "é", "é"]


def test_the_newest_chunk_stays_even_if_it_is_larger_than_the_rest_of_the_bound(db: Database) -> None:
    task = running(db)
    _append(db, task, "a" * 200, limit=100)
    _append(db, task, "b" * 200, limit=100)
    assert _texts(db, task) == [_note(200), "b" * 200], "the note may stand first"
    with db.read() as c:
        assert _seen(log_lines.page(c, task.id, 1, 9)[0]) == [(1, _note(200)), (2, "b" * 200)]
        assert _seen(log_lines.tail(c, task.id, 9)) == [(1, _note(200)), (2, "b" * 200)]
        assert _seen(log_lines.tail(c, task.id, 1)) == [(2, "b" * 200)]


def test_one_large_write_leaves_the_same_gap_as_many_small_ones(db: Database) -> None:
    task = _long(db, 300, at_once=300)
    assert _texts(db, task) == [text for _, text in _readable(300)]


def test_the_position_moves_even_when_lines_are_dropped(db: Database) -> None:
    task = _long(db, 30)
    position = LogPosition(StreamPosition(STAMP, 9), StreamPosition(STAMP, 2))
    assert _append(db, task, "x" * 500, position=position)
    with db.read() as c:
        assert links.log_position(c, task.run, 0) == position


def test_a_writer_with_another_token_drops_nothing(db: Database) -> None:
    task = _long(db, 30)
    with db.begin() as c:
        late = Token(task.id, task.attempt, task.delivery + 1)
        assert not log_rows.append(
            c, late, task.origin, 0, [logs.piece([(1, STAMP, "x" * 70)])], LogPosition(), LIMIT
        )
    assert _texts(db, task) == [text for _, text in _readable(30)]


def test_a_gap_that_is_rolled_back_leaves_the_log_as_it_was(db: Database) -> None:
    task = _long(db, 30)
    with pytest.raises(ZeroDivisionError), db.begin() as c:
        log_rows.append(
            c, task.token, task.origin, 0, [logs.piece([(1, STAMP, "x" * 30)])], LogPosition(), LIMIT
        )
        raise ZeroDivisionError
    assert _texts(db, task) == [text for _, text in _readable(30)]
    _append(db, task, _line(31))
    assert _texts(db, task) == [text for _, text in _readable(31)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_pages_go_over_the_gap_and_hold_each_line_once(db: Database, size: int) -> None:
    task = _long(db, 30)
    seen: list[tuple[int, str]] = []
    for number in range(1, -(-9 // size) + 2):
        with db.read() as c:
            lines, total = log_lines.page(c, task.id, number, size)
        assert total == 9
        assert len(lines) == min(size, max(0, 9 - (number - 1) * size))
        seen += _seen(lines)
    assert seen == _readable(30), "lines keep the numbers under which they were written"


def test_a_search_goes_over_the_gap(db: Database) -> None:
    task = _long(db, 30)
    with db.read() as c:
        lines, total = log_lines.page(c, task.id, 2, 2, "LINE 00")
        assert (_seen(lines), total) == ([(3, _line(3)), (4, _line(4))], 8)
        assert log_lines.page(c, task.id, 1, 2, "missing in all")[1] == 1


@pytest.mark.parametrize("n", range(11))
def test_the_last_frames_and_the_tail_go_over_the_gap(db: Database, n: int) -> None:
    task, readable = _long(db, 30), _readable(30)
    with db.read() as c:
        last, tail = log_lines.last(c, task.id, n), log_lines.tail(c, task.id, n)
    assert _seen(last) == readable[max(0, 9 - n) :]
    # In the tail the note counts for no line, and stands there when what is before it does.
    assert _seen(tail) == (readable[9 - n :] if n < 5 else readable[max(0, 8 - n) :])


def test_a_line_that_loses_its_middle_ends_at_the_note(db: Database) -> None:
    task = running(db)
    _append(db, task, "a" * 40, limit=LIMIT)
    for _ in range(9):
        _append(db, task, "b" * 10, limit=LIMIT)
    _append(db, task, "end\n", limit=LIMIT)
    with db.read() as c:
        assert [text for _, text in _seen(log_lines.tail(c, task.id, 1))] == ["b" * 10] * 3 + ["end\n"]
        assert [text for _, text in _seen(log_lines.tail(c, task.id, 2))][:2] == ["a" * 40, _note(60)]


def test_a_reader_who_keeps_pace_meets_no_gap_and_one_who_does_not_meets_it_once(db: Database) -> None:
    task, after, slow = running(db), -1, 0
    seen: list[str] = []
    for number in range(1, 61):
        _append(db, task, _line(number))
        for chunk in _chunks(db, task, after):
            seen += [text for _, _, text in chunk.frames]
            after = chunk.seq
        if number == 5:
            slow = after
    assert seen == [_line(n) for n in range(1, 61)]
    found = _chunks(db, task, slow)
    assert [is_gap(0, chunk.frames[0][2]) for chunk in found] == [True, False, False, False, False]
    assert _texts(db, task, found[0].seq) == [_line(n) for n in range(57, 61)], "goes on behind the note"
    for number in range(61, 71):
        _append(db, task, _line(number))
    assert _texts(db, task, found[0].seq)[0] == _note(620), "a reader who comes back late gets the gap note"


def test_links_share_the_bound_and_the_note_belongs_to_the_one_behind_it(db: Database) -> None:
    task = running(db)
    _append(db, task, *map(_line, range(1, 7)), link=0)
    _append(db, task, *map(_line, range(7, 13)), link=1)
    found = _chunks(db, task)
    assert [text for chunk in found for _, _, text in chunk.frames] == [text for _, text in _readable(12)]
    (note,) = [chunk for chunk in found if is_gap(chunk.frames[0][0], chunk.frames[0][2])]
    assert note.link == 1


def test_a_lowered_bound_drops_older_lines_too(db: Database) -> None:
    task = running(db)
    for number in range(1, 41):
        _append(db, task, _line(number), limit=200)
    _append(db, task, _line(41), limit=130)
    assert _texts(db, task) == [_line(n) for n in range(1, 11)] + [_note(280)] + [
        _line(n) for n in (39, 40, 41)
    ]
    _append(db, task, _line(42), limit=20)
    assert _texts(db, task)[10:] == [_note(310), _line(42)], "the head stays as it is"
