"""Frames of Docker's log stream: bytes -> frames that are newer than a position. Knows no connection."""

from __future__ import annotations

import calendar
import re
import struct
import time
from functools import lru_cache, partial
from operator import add, sub
from typing import NamedTuple

from engine.model.records import LogFrame, LogPosition
from engine.runtime.docker.http import Broken

#: A silent stream is read again from this long before the other stream's position, not from its own old one:
#: frames come in the order in which Docker stored them, and stamps of the two streams differ by far less.
OVERLAP_SECONDS = 5
#: Docker cuts a longer line into pieces of this size.
PIECE_BYTES = 16 << 10
#: A header that claims more than this is not one.
MOST_FRAME_BYTES = 1 << 25
STDOUT, STDERR = 1, 2
#: A whole line as Docker sends it, after header and stamp; or the rest, where no such line begins.
_LINES = re.compile(rb"([\x01\x02])\0\0\0\0\0(..)([0-9T:.+Z-]{1,40}) ([^\n]*\n)|(.+)", re.DOTALL)
#: A piece whose first frame is longer has too few lines to be worth a try.
_SHORT_BYTES = 2048
_frame = partial(tuple.__new__, LogFrame)


class Tail:
    """Last bytes of a stream, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Append a piece."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > 2 * self._limit:
            self._pieces = [self.value()]
            self._size = len(self._pieces[0])

    def value(self) -> bytes:
        """Return the last bytes."""
        return b"".join(self._pieces)[-self._limit :]


class _Piece(NamedTuple):
    """Last frame of a stream, which ended no line."""

    stamp: str
    #: The first bytes of a character whose other bytes follow.
    half: bytes
    #: Cut by Docker because it was too long.
    is_full: bool
    #: The frame before it was cut, so both are of one line.
    continues: bool


class FrameParser:
    """Parser of Docker's log stream that skips frames up to a position and returns whole characters.

    Docker cuts lines into pieces of 16 KiB, also inside a character: the half is returned with the next piece. Before
    Docker 23 the last piece of a long line comes without its line feed, which is then returned as a frame.
    """

    def __init__(self, position: LogPosition) -> None:
        self._buffer = b""
        self._position = position
        self._skip: dict[int, tuple[str, int]] = {}
        #: Streams whose last frame ended no line.
        self._pieces: dict[int, _Piece] = {}
        #: Frames parsed since the last `restart`, and how many of them were old and skipped.
        self.seen = self.skipped = 0
        #: Stamps around frames that are missing: the position's, and the first that came; None: none are missing.
        self.gap: tuple[str, str] | None = None
        #: In a followed stream: the stamp that was older than the one before it. Nothing is returned from there on.
        self.went_back = ""
        self.restart()

    @property
    def position(self) -> LogPosition:
        """Position after the last frame returned."""
        return self._position

    def restart(self, *, followed: bool = False) -> None:
        """Expect the stream to begin again, with frames that were returned before.

        A log that is read from Docker's files has its frames in their order, whatever their stamps. A `followed`
        stream is trusted only while the stamps of each stream rise: Docker 20.10 may send a rotated file twice.
        """
        self._buffer = b""
        self.seen = self.skipped = 0
        self.gap, self.went_back = None, ""
        self._is_followed = followed
        positions = {STDOUT: self._position.stdout, STDERR: self._position.stderr}
        self._skip = {stream: (at.stamp, at.frames) for stream, at in positions.items() if at.stamp}
        #: True until the frame of a position came. Rotation drops the oldest frames, so after it none is missing.
        self._is_expecting = bool(self._skip)

    def parse(self, piece: bytes) -> list[LogFrame]:
        """Return the next frames. Raises Broken when the bytes are not a log of Docker."""
        data = self._buffer + piece if self._buffer else piece
        frames, rest = ([], data) if self._skip or self._pieces else _parse_lines(data)
        self.seen += len(frames)
        more, self._buffer = self._parse_frames(rest)
        frames += more
        if self._is_followed and frames:
            frames = self._rising(frames)
        self._position = self._position.after(frames)
        return frames

    def rest(self, *, has_line_feeds: bool) -> list[LogFrame]:
        """Return what is held back at the log's end. Without `has_line_feeds`, a long line is taken to have had one."""
        frames = []
        for stream, last in self._pieces.items():
            is_ended = not last.is_full and last.continues and not has_line_feeds
            data = last.half + (b"\n" if is_ended else b"")
            if data and not self._was_returned(stream):
                frames.append(LogFrame(stream, last.stamp, data))
        self._pieces = {}
        self._position = self._position.after(frames)
        return frames

    def _parse_frames(self, data: bytes) -> tuple[list[LogFrame], bytes]:
        """Return frames of any form, parsed one by one, and the rest."""
        frames: list[LogFrame] = []
        start, size = 0, len(data)
        while size - start >= 8:
            end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "big")
            if end - start > MOST_FRAME_BYTES:
                raise Broken("Docker sent a log that cannot be read")
            if end > size:
                break
            space = data.find(b" ", start + 8, end)
            stamp = data[start + 8 : space].decode("ascii", "replace")
            stream = data[start]
            if stream not in (STDOUT, STDERR):
                message = data[start + 8 : end].decode("utf-8", "replace")
                raise Broken(f"Docker cannot read the log: {message[:300]}")
            self.seen += 1
            before, whole = self._in_line(stream, stamp, data[space + 1 : end])
            if before is not None and self._was_returned(stream):
                before = None
            if stream in self._skip and self._is_old(stream, stamp):
                self.skipped += 1
            else:
                if self._is_expecting:
                    stamps = (self._position.stdout.stamp, self._position.stderr.stamp)
                    self.gap, self._is_expecting = (max(stamps), stamp), False
                frames += (whole,) if before is None else (before, whole)
            start = end
        return frames, data[start:]

    def _in_line(self, stream: int, stamp: str, data: bytes) -> tuple[LogFrame | None, LogFrame]:
        """Return the frame in whole characters, and before it the end of a line that Docker gave without line feed."""
        before, half, last = None, b"", self._pieces.pop(stream, None) if self._pieces else None
        if last is not None and last.is_full:
            half = last.half
        elif last is not None:
            # Only the end of the log, or of a line, makes a piece shorter.
            before = LogFrame(stream, last.stamp, last.half + b"\n")
        is_full, continues = len(data) == PIECE_BYTES, last is not None and last.is_full
        data = half + data
        if not data.endswith(b"\n"):
            count = half_character(data)
            data, half = data[: len(data) - count], data[len(data) - count :]
            self._pieces[stream] = _Piece(stamp, half, is_full, continues)
        return before, LogFrame(stream, stamp, data)

    def _was_returned(self, stream: int) -> bool:
        """Return whether what Docker does not send was returned: it counts as one more frame with the last stamp."""
        at = self._position.stdout if stream == STDOUT else self._position.stderr
        return at.frames > 1 and self._skip.get(stream, ("", 0))[1] == 1

    def _is_old(self, stream: int, stamp: str) -> bool:
        last, left = self._skip[stream]
        if stamp == last and left > 0:
            self._skip[stream] = (last, left - 1)
            self._is_expecting = False
            return True
        if stamp < last and left > 0:
            return True
        del self._skip[stream]
        return False

    def _rising(self, frames: list[LogFrame]) -> list[LogFrame]:
        """Return the frames before the first whose stamp is older than the one before it in its stream."""
        last = {STDOUT: self._position.stdout.stamp, STDERR: self._position.stderr.stamp}
        stamps = [max(last.values()), *[frame.stamp for frame in frames]]
        if stamps == sorted(stamps):
            return frames
        for number, (stream, stamp, _) in enumerate(frames):
            if stamp < last[stream]:
                self.went_back = stamp
                return frames[:number]
            last[stream] = stamp
        return frames


def half_character(data: bytes) -> int:
    """Return how many bytes at the end begin a character of UTF-8 that needs more bytes."""
    for count, byte in enumerate(reversed(data[-3:]), 1):
        if byte & 0xC0 != 0x80:
            needed = (
                2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 0
            )
            return count if needed > count else 0
    return 0


def _parse_lines(data: bytes) -> tuple[list[LogFrame], bytes]:
    """Return the frames at the beginning of `data` while they are whole, short lines; and the rest.

    A few calls for all lines, instead of a few for each, take a third of the CPU time.
    """
    if len(data) < 8 or int.from_bytes(data[4:8], "big") > _SHORT_BYTES:
        return [], data
    matches = _LINES.findall(data)
    rest = matches.pop()[4] if matches and matches[-1][4] else b""
    if not matches:
        return [], data
    streams, sizes, stamps, lines, _ = zip(*matches, strict=True)
    lengths = struct.unpack(f">{len(matches)}H", b"".join(sizes))
    # A frame without a line feed was matched together with the next frame: the length shows it.
    if set(map(sub, lengths, map(add, map(len, stamps), map(len, lines)))) != {1}:
        return [], data
    texts = b" ".join(stamps).decode("ascii").split(" ")
    return list(map(_frame, zip(b"".join(streams), texts, lines, strict=True))), rest


def since(position: LogPosition, earlier: str = "") -> str:
    """Return the time from which Docker is asked, as "seconds.nanoseconds"; "" for the beginning.

    `earlier` is a stamp that came after the position although it is older: frames since then are asked for.
    """
    stamps = [seconds_of(at.stamp) for at in (position.stdout, position.stderr) if at.stamp]
    if not stamps:
        return ""
    newest = max(stamps)
    floor = (newest[0] - OVERLAP_SECONDS, 0)
    oldest = min(stamps) if len(stamps) == 2 else floor
    seconds, nanos = max(oldest, floor)
    if earlier:
        seconds, nanos = min((seconds, nanos), seconds_of(earlier))
    return f"{seconds}.{nanos:09d}"


def seconds_of(stamp: str) -> tuple[int, int]:
    """Return Docker's stamp (RFC 3339, UTC) as (seconds, nanoseconds) since 1970."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    return _whole_seconds(whole), int(rest.ljust(9, "0")[:9] or 0)


@lru_cache(maxsize=64)
def _whole_seconds(stamp: str) -> int:
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S"))
