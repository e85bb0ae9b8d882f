"""Frames of Docker's log stream: in any pieces, each frame is returned once, with the position after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.records import LogFrame, LogPosition, StreamPosition
from engine.runtime.docker.frames import PIECE_BYTES, FrameParser, Tail, since
from engine.runtime.docker.http import Broken

STAMP = "2026-11-25T14:00:00.{:09}Z"

FULL = b"y" * PIECE_BYTES
#: Lines, pieces of long lines without a line feed, line feeds inside, texts that look like headers.
TEXTS = st.one_of(
    st.binary(max_size=60).map(lambda data: data + b"\n"),
    st.sampled_from([b"\n", b" \n", b"x" * 9 + b"\n", FULL, b"z" * 3000 + b"\n", b"a\nb\n"]),
    st.builds(
        lambda n: b"\x01\0\0\0" + n.to_bytes(4, "big") + STAMP.format(1).encode() + b" x\n",
        st.integers(0, 70),
    ),
)
FRAMES = st.lists(
    st.builds(
        LogFrame, st.sampled_from([1, 1, 1, 2]), st.integers(0, 5).map(lambda n: STAMP.format(n)), TEXTS
    ),
    max_size=40,
)


def as_sent(frames: list[LogFrame]) -> bytes:
    """Return the frames as Docker sends them."""
    sent = b""
    for stream, stamp, data in frames:
        body = stamp.encode() + b" " + data
        sent += bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body
    return sent


def one_by_one(frames: list[LogFrame]) -> LogPosition:
    """Return the position by its definition: each stream's last stamp, and how many frames in a row have it."""
    at = {1: ("", 0), 2: ("", 0)}
    for stream, stamp, _ in frames:
        last, count = at[stream]
        at[stream] = (stamp, count + 1 if stamp == last else 1)
    return LogPosition(StreamPosition(*at[1]), StreamPosition(*at[2]))


@given(FRAMES, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_frames_arrive_complete_and_in_order_in_any_pieces(frames: list[LogFrame], sizes: list[int]) -> None:
    parser, sent, returned, turn = FrameParser(LogPosition()), as_sent(frames), [], 0
    while sent:
        size = sizes[turn % len(sizes)]
        returned += parser.parse(sent[:size])
        sent, turn = sent[size:], turn + 1
    assert returned == frames
    assert parser.position == one_by_one(frames)
    assert parser.seen == len(frames)


@given(FRAMES, FRAMES)
def test_a_position_moves_alike_for_a_batch_and_one_by_one(
    before: list[LogFrame], later: list[LogFrame]
) -> None:
    assert LogPosition().after(before).after(later) == one_by_one(before + later)


EURO = "€".encode()
#: A line of 12,000 characters with 3 bytes each, cut as Docker cuts it.
LONG = EURO * 12_000
PIECES = [LONG[at : at + PIECE_BYTES] for at in range(0, len(LONG), PIECE_BYTES)]


def long_line(*last: bytes) -> list[LogFrame]:
    """Return the pieces of the line, and then these frames, each with a stamp of its own."""
    line = [LogFrame(1, STAMP.format(0), piece) for piece in PIECES]
    return line + [LogFrame(1, STAMP.format(n), data) for n, data in enumerate(last, 1)]


def texts(frames: list[LogFrame]) -> str:
    return "".join(frame.data.decode() for frame in frames)


def test_a_line_that_docker_cut_has_whole_characters_in_every_frame() -> None:
    parser, log = FrameParser(LogPosition()), long_line()
    log[-1] = log[-1]._replace(data=log[-1].data + b"\n")
    assert texts(parser.parse(as_sent(log))) == "€" * 12_000 + "\n"
    assert parser.rest(has_line_feeds=True) == []


def test_a_line_feed_that_docker_left_out_is_returned_before_the_next_line() -> None:
    parser = FrameParser(LogPosition())
    assert texts(parser.parse(as_sent(long_line(b"next\n")))) == "€" * 12_000 + "\nnext\n"


@pytest.mark.parametrize(("has_line_feeds", "end"), [(True, ""), (False, "\n")])
def test_at_the_end_of_the_log_only_an_old_daemon_left_out_a_line_feed(
    has_line_feeds: bool, end: str
) -> None:
    parser = FrameParser(LogPosition())
    frames = parser.parse(as_sent(long_line()))
    assert texts(frames + parser.rest(has_line_feeds=has_line_feeds)) == "€" * 12_000 + end
    short = FrameParser(LogPosition())
    assert texts(short.parse(as_sent([LogFrame(1, STAMP.format(0), b"no line feed")]))) == "no line feed"
    assert short.rest(has_line_feeds=has_line_feeds) == []


def test_half_a_character_at_the_end_of_the_log_is_returned_as_written() -> None:
    parser = FrameParser(LogPosition())
    frames = parser.parse(as_sent([LogFrame(2, STAMP.format(0), b"a" + EURO[:2])]))
    assert [frame.data for frame in frames + parser.rest(has_line_feeds=True)] == [b"a", EURO[:2]]


@given(st.integers(0, 6), st.booleans())
def test_a_reader_that_died_anywhere_returns_each_byte_once(dies_after: int, has_line_feeds: bool) -> None:
    log = long_line(b"next\n", b"a" + EURO[:2])
    stored: list[LogFrame] = []
    for lives in (dies_after, 100):
        parser = FrameParser(one_by_one(stored))
        frames = parser.parse(as_sent(log))
        frames += parser.rest(has_line_feeds=has_line_feeds)
        stored += frames[:lives]
    again = FrameParser(one_by_one(stored))
    assert again.parse(as_sent(log)) == again.rest(has_line_feeds=has_line_feeds) == []
    assert b"".join(frame.data for frame in stored) == LONG + b"\nnext\na" + EURO[:2]


def lines(*stamps: int, stream: int = 1) -> list[LogFrame]:
    return [LogFrame(stream, STAMP.format(n), b"%d\n" % n) for n in stamps]


def test_frames_that_docker_dropped_before_they_were_read_are_a_gap() -> None:
    parser = FrameParser(one_by_one(lines(1, 2)))
    assert parser.parse(as_sent(lines(7, 8))) == lines(7, 8)
    assert parser.gap == (STAMP.format(2), STAMP.format(7))
    parser.restart()
    assert parser.parse(as_sent(lines(8, 9))) == lines(9)
    assert parser.gap is None


def test_the_frame_of_one_stream_proves_that_none_of_the_other_is_missing() -> None:
    both = lines(1, 2) + lines(3, stream=2)
    parser = FrameParser(one_by_one(both))
    # Rotation dropped the frame of the first stream's position, which is older in the files.
    assert parser.parse(as_sent(lines(3, stream=2) + lines(9))) == lines(9)
    assert parser.gap is None


def test_a_new_stream_is_no_gap() -> None:
    parser = FrameParser(one_by_one(lines(1)))
    assert parser.parse(as_sent(lines(1) + lines(2, stream=2))) == lines(2, stream=2)
    assert parser.gap is None


def test_a_followed_stream_is_given_up_where_a_stamp_goes_back_and_the_files_are_not() -> None:
    log = lines(1, 2, 3)
    repeated = lines(1, 2, 3, 1, 2, 3, 4)
    parser = FrameParser(LogPosition())
    parser.restart(followed=True)
    assert parser.parse(as_sent(repeated)) == log
    assert parser.went_back == STAMP.format(1)
    assert since(parser.position, "2020-01-01T00:00:00.000000005Z") == "1577836800.000000005"
    parser.restart()
    assert parser.parse(as_sent(lines(1, 2, 3, 4))) == lines(4)
    # The daemon's clock was set back: the files tell the order.
    files = FrameParser(one_by_one(lines(8)))
    assert files.parse(as_sent(lines(7, 8, 2, 3))) == lines(2, 3)


def test_after_a_restart_no_frame_is_returned_twice() -> None:
    frames = [LogFrame(1, STAMP.format(n // 3), b"%d\n" % n) for n in range(300)]
    parser = FrameParser(LogPosition())
    parser.parse(as_sent(frames[:100]))
    parser.restart()
    assert parser.parse(as_sent(frames)) == frames[100:]
    assert parser.skipped == 100


@pytest.mark.parametrize("before", [[], [LogFrame(1, STAMP.format(1), b"a line\n")]])
def test_a_frame_of_a_third_stream_is_an_error_of_docker(before: list[LogFrame]) -> None:
    odd = as_sent([LogFrame(3, "Error", b"grabbing logs: no such file\n")])
    with pytest.raises(Broken, match="grabbing logs"):
        FrameParser(LogPosition()).parse(as_sent(before) + odd)


def test_a_tail_keeps_the_last_bytes() -> None:
    tail = Tail(5)
    for piece in (b"abc", b"", b"defghijklmnop", b"q"):
        tail.add(piece)
    assert tail.value() == b"mnopq"
