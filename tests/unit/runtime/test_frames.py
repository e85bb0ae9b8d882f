"""Frames of Docker's log stream: in any pieces, each frame is returned once, with the position after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.records import LogFrame, LogPosition, StreamPosition
from engine.runtime.docker.frames import FrameParser, Tail
from engine.runtime.docker.http import Broken

STAMP = "2026-11-25T14:00:00.{:09}Z"

#: Lines, pieces of long lines without a line feed, line feeds inside, texts that look like headers, empty texts.
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
