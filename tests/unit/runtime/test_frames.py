"""Docker's log stream in frames: whatever the pieces that it comes in, each frame once, and the position behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.records import LogFrame, LogPosition, StreamPosition
from engine.runtime.docker.frames import FrameParser, Tail
from engine.runtime.docker.http import Broken

STAMP = "2026-11-25T14:00:00.{:09}Z"

#: Lines, pieces of long lines without an end, ends inside, headers that look like others', nothing at all.
TEXTS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"\n", b" \n", b"x" * 9 + b"\n", b"y" * 3000, b"z" * 3000 + b"\n", b"a\nb\n"]),
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
    """As Docker sends them."""
    sent = b""
    for stream, stamp, data in frames:
        body = stamp.encode() + b" " + data
        sent += bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body
    return sent


def one_by_one(frames: list[LogFrame]) -> LogPosition:
    """The position by its meaning: the last stamp of each stream, and how many frames in a row had it."""
    at = {1: ("", 0), 2: ("", 0)}
    for stream, stamp, _ in frames:
        last, count = at[stream]
        at[stream] = (stamp, count + 1 if stamp == last else 1)
    return LogPosition(StreamPosition(*at[1]), StreamPosition(*at[2]))


@given(FRAMES, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_frames_come_whole_and_in_order_whatever_the_pieces(frames: list[LogFrame], sizes: list[int]) -> None:
    parser, sent, found, turn = FrameParser(LogPosition()), as_sent(frames), [], 0
    while sent:
        size = sizes[turn % len(sizes)]
        found += parser.parse(sent[:size])
        sent, turn = sent[size:], turn + 1
    assert found == frames
    assert parser.position == one_by_one(frames)
    assert parser.seen == len(frames)


@given(FRAMES, FRAMES)
def test_a_position_grows_alike_at_once_and_one_by_one(before: list[LogFrame], later: list[LogFrame]) -> None:
    assert LogPosition().after(before).after(later) == one_by_one(before + later)


def test_after_a_resume_what_was_given_out_comes_no_second_time() -> None:
    frames = [LogFrame(1, STAMP.format(n // 3), b"%d\n" % n) for n in range(300)]
    parser = FrameParser(LogPosition())
    parser.parse(as_sent(frames[:100]))
    parser.restart()
    assert parser.parse(as_sent(frames)) == frames[100:]
    assert parser.skipped == 100


@pytest.mark.parametrize("before", [[], [LogFrame(1, STAMP.format(1), b"a line\n")]])
def test_a_frame_that_is_none_of_the_two_streams_is_dockers_error(before: list[LogFrame]) -> None:
    odd = as_sent([LogFrame(3, "Error", b"grabbing logs: no such file\n")])
    with pytest.raises(Broken, match="grabbing logs"):
        FrameParser(LogPosition()).parse(as_sent(before) + odd)


def test_a_tail_keeps_the_last_bytes() -> None:
    tail = Tail(5)
    for piece in (b"abc", b"", b"defghijklmnop", b"q"):
        tail.add(piece)
    assert tail.value() == b"mnopq"
