"""Reader of a container's log from a stored position on, in bulk, each byte once.

A reader that lags behind follows no more, but reads Docker's files from its position until it has caught up: in the
files the position's frame tells whether frames are missing before the next one, in a followed stream nothing does.

The position is kept for each stream, as (stamp of the last frame, number of frames with it): stamps go back between
the streams, and the frames of one long line share a stamp.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from engine.errors import RuntimeUnavailable
from engine.model.log_gap import lost_note
from engine.model.records import LogFrame, LogPosition
from engine.runtime.base import LogSink
from engine.runtime.docker.client import Client
from engine.runtime.docker.frames import STDERR, STDOUT, FrameParser, Tail, since
from engine.runtime.docker.gate import Gate
from engine.runtime.docker.http import RETRY_SECONDS, Broken, Exchange
from engine.runtime.docker.lag import LAG_SECONDS, DaemonClock

log = logging.getLogger(__name__)

STOP_SECONDS = 0.5
#: Lines of the log's end that are read after the container's end, in growing steps; 0: all since the position.
CATCH_UP_LINES = (64, 512, 0)


class Follower:
    """Thread that follows one container's log into a sink; it does not watch for the container's end."""

    #: Wait before a stream that ended is requested again while the container still runs.
    RETRY_SECONDS = 0.5

    def __init__(  # noqa: PLR0913 - what it reads, where to, and from where on
        self,
        client: Client,
        container_id: str,
        sink: LogSink,
        tail_bytes: int,
        on_defect: Callable[[], object] = bool,
        gate: Gate | None = None,
        *,
        is_behind: bool = False,
    ) -> None:
        """Begin after the sink's position; `on_defect` is called when a defect ended the reading.

        `is_behind` tells that the container may have written long before.
        """
        self._gate = gate or Gate()
        self._is_behind = is_behind
        #: Seconds until Docker sent the first frame of the last read without following: it looks for the position.
        self._search_seconds = 0.0
        #: Stamp that was older than the one before it, from which the log is read again.
        self._earlier = ""
        self._on_defect = on_defect
        #: True when the log was read to its end.
        self.is_complete = False
        self._client = client
        self._id = container_id
        self._sink = sink
        position = sink.position()
        #: True if output was stored before: `tail` lacks it.
        self.is_resumed = bool(position.stdout.stamp or position.stderr.stamp)
        self._tail_bytes = tail_bytes
        self._tail = Tail(max(tail_bytes, 1))
        #: Last frame of standard error, where docker-init writes why it could not run the command.
        self.last_error = b""
        self._parser = FrameParser(position)
        #: True after a request that failed.
        self._is_broken = False
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self._exchange: Exchange | None = None
        #: True while the exchange follows the log; any other exchange ends without help.
        self._is_open_ended = False
        #: Time of the last bytes from Docker; None while the thread waits for the sink instead.
        self._heard_at: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"log {container_id[:12]}", daemon=True)

    def start(self) -> None:
        """Start to follow."""
        self._thread.start()

    def finish(
        self, idle_seconds: float, is_interrupted: Callable[[], bool], most_seconds: float = math.inf
    ) -> None:
        """Read the rest of the log after the container's end, until it is read, interrupted, or the time is over.

        A followed stream that sends nothing for `idle_seconds` is interrupted, because Docker may hold it open; reads
        without following end without help. Raises RuntimeUnavailable if the daemon is silent before the end, or if a
        defect ended the reading.
        """
        ended_at = time.monotonic()
        self._ended.set()
        while self._thread.is_alive():
            self._thread.join(0.05)
            if is_interrupted() or time.monotonic() - ended_at > most_seconds:
                self.stop()
                return
            silent = self._silent_seconds(ended_at)
            if silent > self._client.timeout:
                self.stop()
                raise RuntimeUnavailable(
                    f"Docker does not answer: the end of the log of {self._id[:12]} is missing"
                )
            if silent > idle_seconds and self._is_open_ended:
                self._interrupt()
        if not self.is_complete:
            raise RuntimeUnavailable(
                f"the log of {self._id[:12]} was not read to its end, because of a defect"
            )

    def _silent_seconds(self, ended_at: float) -> float:
        heard_at = self._heard_at
        return 0.0 if heard_at is None else time.monotonic() - max(heard_at, ended_at)

    def _interrupt(self) -> None:
        if (exchange := self._exchange) is not None:
            exchange.interrupt()

    def stop(self) -> None:
        """Stop reading at once; the sink's position is what it has stored."""
        self._stopped.set()
        self._ended.set()
        self._interrupt()
        # Nothing is written after the caller has continued; but a sink that blocks is not waited for.
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def tail(self) -> bytes:
        """Return the last bytes of standard output."""
        return self._tail.value()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                if self._is_behind:
                    is_over = not self._catch_up()
                else:
                    # Stream and container end within milliseconds of each other; later the stream is lost.
                    self._read(follow=True)
                    is_over = not self._is_behind
                if is_over:
                    self._ended.wait(self.RETRY_SECONDS)
            # A followed stream may end before the container's last lines (with Docker 20.10 and 100,000 lines, one
            # time in ten), and a broken stream does: the rest is requested.
            step = 0
            while not self._stopped.is_set() and not self._has_caught_up(CATCH_UP_LINES[step]):
                if self._is_broken:
                    self._stopped.wait(self.RETRY_SECONDS)
                else:
                    step += 1
            if not self._stopped.is_set() and (
                frames := self._parser.rest(has_line_feeds=has_line_feeds(self._client))
            ):
                self._write(frames)
            self.is_complete = not self._stopped.is_set()
        except BaseException:
            # The sink is the caller's: an error in it ends the following, not the container.
            if not self._stopped.is_set():
                log.exception(
                    "the log of container %s is not followed any more, because of an error", self._id[:12]
                )
                self._on_defect()

    def _catch_up(self) -> bool:
        """Read what Docker's files have; after a read that took long, they have more. Return False if it broke."""
        began = time.monotonic()
        is_read = self._read(follow=False)
        if is_read:
            self._is_behind = time.monotonic() - began > self._most_lag()
        return is_read

    def _most_lag(self) -> float:
        # A followed stream begins with the same search, so it always lags by that time at first.
        return LAG_SECONDS + 2 * self._search_seconds

    def _has_caught_up(self, lines: int) -> bool:
        """Read the last `lines` frames (0: all since the position); return True if none can be missing after that."""
        if not lines:
            return self._read(follow=False)
        position = self._parser.position
        trial = FrameParser(position)
        try:
            frames = self._last_frames(trial, lines)
        except RuntimeUnavailable as exc:
            self._note_broken(exc)
            return False
        self._is_broken = False
        # Frames come in the order in which Docker stored them: before an old frame none is missing.
        if not trial.skipped and trial.seen >= lines:
            return False
        if frames and not self._stopped.is_set():
            self._parser = trial
            self._note_gap()
            self._write(frames)
        return True

    def _note_broken(self, error: RuntimeUnavailable) -> None:
        if not self._is_broken and not self._stopped.is_set():
            log.warning("the log of container %s broke off; trying again: %s", self._id[:12], error)
        self._is_broken = True

    def _last_frames(self, trial: FrameParser, lines: int) -> list[LogFrame]:
        frames: list[LogFrame] = []
        with open_log(self._client, self._id, trial.position, tail=lines) as exchange:
            self._exchange = exchange
            if not _has_log(exchange, self._client, self._id):
                return frames
            for piece in exchange.pieces():
                self._heard_at = time.monotonic()
                frames += trial.parse(piece)
        return frames

    def _read(self, *, follow: bool) -> bool:
        """Read from the position until the stream ends or lags; return False if it broke."""
        self._parser.restart(followed=follow)
        asked_at = time.monotonic()
        try:
            with open_log(
                self._client, self._id, self._parser.position, follow=follow, earlier=self._earlier
            ) as exchange:
                self._exchange, self._is_open_ended = exchange, follow
                if self._stopped.is_set():
                    return True
                if not _has_log(exchange, self._client, self._id):
                    return True
                if follow:
                    self._follow(exchange, DaemonClock(exchange, asked_at))
                else:
                    self._read_files(exchange, asked_at)
        except RuntimeUnavailable as exc:
            self._note_broken(exc)
            return False
        finally:
            self._is_open_ended = False
        self._is_broken = False
        return True

    def _follow(self, exchange: Exchange, clock: DaemonClock) -> None:
        while (piece := exchange.read(None)) and not self._stopped.is_set():
            position = self._parser.position
            frames = self._parser.parse(piece)
            if frames and clock.age(frames[0].stamp) > self._most_lag():
                # Docker may have left frames out before these.
                self._parser, self._is_behind = FrameParser(position), True
                return
            self._take(frames)
            if self._parser.went_back:
                self._earlier, self._is_behind = self._parser.went_back, True
                return

    def _read_files(self, exchange: Exchange, asked_at: float) -> None:
        is_first = True
        for piece in exchange.pieces():
            if self._stopped.is_set():
                return
            if is_first:
                self._search_seconds, is_first = time.monotonic() - asked_at, False
            self._take(self._parser.parse(piece))
        self._earlier = ""

    def _take(self, frames: list[LogFrame]) -> None:
        self._heard_at = time.monotonic()
        if frames:
            self._note_gap()
            self._write(frames)

    def _note_gap(self) -> None:
        if self._parser.gap is not None:
            self._sink.note(lost_note(*self._parser.gap))
            self._parser.gap = None

    def _write(self, frames: Sequence[LogFrame]) -> None:
        frames = self._gate.passed(frames)
        if not frames:
            return
        self.last_error = next(
            (frame.data for frame in reversed(frames) if frame.stream == STDERR), self.last_error
        )
        if self._tail_bytes:
            self._tail.add(b"".join([data for stream, _, data in frames if stream == STDOUT]))
        self._heard_at = None
        self._sink.write(frames)
        self._heard_at = time.monotonic()


def open_log(
    client: Client,
    container_id: str,
    position: LogPosition,
    *,
    follow: bool = False,
    tail: int = 0,
    earlier: str = "",
) -> Exchange:
    """Request both streams with stamps: from the position on, or the last `tail` frames if `tail` is not 0.

    With `earlier`, a stamp, also the frames since then.
    """
    params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
    if tail:
        params["tail"] = str(tail)
    elif after := since(position, earlier):
        params["since"] = after
    # A followed log ends with the container, or is requested again; the end of any other must be certain.
    return client.exchange("GET", f"/containers/{container_id}/logs", params, whole=not follow)


def _has_log(exchange: Exchange, client: Client, container_id: str) -> bool:
    """Read the head; return False if there is no log to read. Raises RuntimeUnavailable."""
    if not exchange.read_head(client.timeout):
        raise Broken("Docker does not answer")
    exchange.raise_if_failed()
    if exchange.status != 200:
        log.warning("no log of container %s: %s", container_id[:12], exchange.error_message())
    return exchange.status == 200


def has_line_feeds(client: Client) -> bool:
    """Return True if the daemon returns the line feed after the last piece of a long line: since Docker 23 (1.42)."""
    return tuple(int(part) for part in client.api.api_version.split(".")) >= (1, 42)


def last_of_stdout(client: Client, container_id: str, limit: int) -> bytes:
    """Return the last `limit` bytes of standard output of a container that has ended, from Docker's log.

    Raises RuntimeUnavailable.
    """
    for pause in RETRY_SECONDS:
        try:
            return _last_of_stdout(client, container_id, limit)
        except RuntimeUnavailable as exc:
            log.warning("the end of the log of %s cannot be read, trying again: %s", container_id[:12], exc)
            time.sleep(pause)
    return _last_of_stdout(client, container_id, limit)


def _last_of_stdout(client: Client, container_id: str, limit: int) -> bytes:
    for lines in (256, 4096, limit + 1):
        tail, count = Tail(limit), 0
        size = 0
        params = {"stdout": "1", "timestamps": "1", "follow": "0", "tail": str(lines)}
        with client.exchange("GET", f"/containers/{container_id}/logs", params, whole=True) as exchange:
            if not _has_log(exchange, client, container_id):
                return b""
            parser = FrameParser(LogPosition())
            for piece in exchange.pieces():
                for frame in parser.parse(piece):
                    tail.add(frame.data)
                    count, size = count + 1, size + len(frame.data)
            for frame in parser.rest(has_line_feeds=has_line_feeds(client)):
                tail.add(frame.data)
        if size >= limit or count < lines:
            break
    return tail.value()
