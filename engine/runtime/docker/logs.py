"""A container's log, from a stored position on: our own reader, in bulk, every byte once.

The position is kept per stream, as (stamp of the last frame, how many frames carry it): stamps go back between
the streams, and the frames of one long line share one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence

from engine.errors import RuntimeUnavailable
from engine.model.records import LogFrame, LogPosition
from engine.runtime.base import LogSink
from engine.runtime.docker.client import Client
from engine.runtime.docker.frames import STDERR, STDOUT, Cutter, Tail, since
from engine.runtime.docker.http import Exchange

log = logging.getLogger(__name__)

STOP_SECONDS = 0.5
#: How much of the log's end is asked for after the container's, in growing steps; 0: all since the position.
CATCH_UP_LINES = (64, 512, 0)


class Follower:
    """The thread that follows one container's log into a sink; the container's end is none of its business."""

    #: Waits before a stream that ended is asked for again while the container runs on.
    BACK_SECONDS = 0.5

    def __init__(self, client: Client, container_id: str, sink: LogSink, tail_bytes: int) -> None:
        self._client = client
        self._id = container_id
        self._sink = sink
        position = sink.position()
        #: True when what came before is stored already, so that `tail` lacks it.
        self.is_resumed = bool(position.stdout.stamp or position.stderr.stamp)
        self._tail_bytes = tail_bytes
        self._tail = Tail(max(tail_bytes, 1))
        #: The last frame of standard error, where docker-init says why it could not run the command.
        self.last_error = b""
        self._cutter = Cutter(position)
        #: The last request failed.
        self._is_broken = False
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self._exchange: Exchange | None = None
        #: That exchange goes on until the container's end; others end by themselves.
        self._is_open_ended = False
        #: When Docker said something last; None while the sink, not Docker, is waited for.
        self._heard_at: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"log {container_id[:12]}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def finish(self, idle_seconds: float, changed: threading.Event) -> None:
        """The container ended: read what is left, or until `changed`.

        A followed stream that gives nothing for `idle_seconds` is left: Docker may hold it open, and plain reads end
        by themselves. Raises RuntimeUnavailable when the daemon is silent before all was read.
        """
        ended_at = time.monotonic()
        self._ended.set()
        while self._thread.is_alive():
            self._thread.join(0.05)
            if changed.is_set():
                self.stop()
                return
            silent = self._silent_seconds(ended_at)
            if silent > self._client.timeout:
                self.stop()
                raise RuntimeUnavailable(f"Docker does not answer for the end of the log of {self._id[:12]}")
            if silent > idle_seconds and self._is_open_ended:
                self._interrupt()

    def _silent_seconds(self, since_then: float) -> float:
        heard_at = self._heard_at
        return 0.0 if heard_at is None else time.monotonic() - max(heard_at, since_then)

    def _interrupt(self) -> None:
        if (exchange := self._exchange) is not None:
            exchange.interrupt()

    def stop(self) -> None:
        """Let go at once; what the sink has is its position."""
        self._stopped.set()
        self._ended.set()
        self._interrupt()
        # So that nothing is written after the caller went on; a sink that blocks is not waited for.
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def tail(self) -> bytes:
        """The last bytes of standard output."""
        return self._tail.value()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._read(follow=True)
                # The stream's end and the container's come within milliseconds; a longer gap is a lost stream.
                self._ended.wait(self.BACK_SECONDS)
            # A followed stream may end before the last lines of a container that ended (Docker 20.10 does so in one
            # of ten tries with 100,000 lines), and a broken one does: what is left is asked for.
            step = 0
            while not self._stopped.is_set() and not self._has_caught_up(CATCH_UP_LINES[step]):
                if self._is_broken:
                    self._stopped.wait(self.BACK_SECONDS)
                else:
                    step += 1
        except Exception:
            # The sink is the caller's: its error ends the following, not the container.
            if not self._stopped.is_set():
                log.exception("the log of container %s is not followed any more", self._id[:12])

    def _has_caught_up(self, lines: int) -> bool:
        """Read the last `lines` frames (0: all since the position); True when nothing can be missing then."""
        if not lines:
            return self._read(follow=False)
        position = self._cutter.position
        trial = Cutter(position)
        try:
            found = self._last_frames(trial, lines)
        except RuntimeUnavailable as exc:
            return self._broke(exc)
        self._is_broken = False
        # Frames come as Docker stored them: one that was given out before has nothing missing before it.
        if not trial.skipped and trial.seen >= lines:
            return False
        if found and not self._stopped.is_set():
            self._give(found)
            self._cutter = trial
        return True

    def _broke(self, why: RuntimeUnavailable) -> bool:
        if not self._is_broken and not self._stopped.is_set():
            log.warning("the log of container %s broke, going on when Docker answers: %s", self._id[:12], why)
        self._is_broken = True
        return False

    def _last_frames(self, trial: Cutter, lines: int) -> list[LogFrame]:
        found: list[LogFrame] = []
        with open_log(self._client, self._id, trial.position, tail=lines) as exchange:
            self._exchange = exchange
            if not exchange.head(self._client.timeout) or exchange.status != 200:
                log.warning("no log of container %s: %s", self._id[:12], exchange.words())
                return found
            for piece in exchange.pieces():
                self._heard_at = time.monotonic()
                found += trial.cut(piece)
        return found

    def _read(self, *, follow: bool) -> bool:
        """Read on from the position until the stream ends; False when it broke."""
        self._cutter.resume()
        try:
            with open_log(self._client, self._id, self._cutter.position, follow=follow) as exchange:
                self._exchange, self._is_open_ended = exchange, follow
                if self._stopped.is_set():
                    return True
                if not exchange.head(self._client.timeout) or exchange.status != 200:
                    log.warning("no log of container %s: %s", self._id[:12], exchange.words())
                    return True
                self._take(iter(lambda: exchange.read(None), b"") if follow else exchange.pieces())
        except RuntimeUnavailable as exc:
            return self._broke(exc)
        finally:
            self._is_open_ended = False
        self._is_broken = False
        return True

    def _take(self, pieces: Iterable[bytes | None]) -> None:
        for piece in pieces:
            if not piece or self._stopped.is_set():
                return
            frames = self._cutter.cut(piece)
            self._heard_at = time.monotonic()
            if frames:
                self._give(frames)

    def _give(self, frames: Sequence[LogFrame]) -> None:
        self.last_error = next((f.data for f in reversed(frames) if f.stream == STDERR), self.last_error)
        if self._tail_bytes:
            self._tail.add(b"".join([data for stream, _, data in frames if stream == STDOUT]))
        self._heard_at = None
        self._sink.write(frames)
        self._heard_at = time.monotonic()


def open_log(
    client: Client, container_id: str, position: LogPosition, *, follow: bool = False, tail: int = 0
) -> Exchange:
    """Ask for both streams with stamps: from the position on, or the last `tail` frames (0: no such bound)."""
    params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
    if tail:
        params["tail"] = str(tail)
    elif after := since(position):
        params["since"] = after
    return client.exchange("GET", f"/containers/{container_id}/logs", params)


def last_of_stdout(client: Client, container_id: str, limit: int) -> bytes:
    """The last `limit` bytes of standard output of a container that ended, read from Docker's end of the log."""
    for lines in (256, 4096, limit + 1):
        tail, count = Tail(limit), 0
        size = 0
        params = {"stdout": "1", "timestamps": "1", "follow": "0", "tail": str(lines)}
        with client.exchange("GET", f"/containers/{container_id}/logs", params) as exchange:
            if not exchange.head(client.timeout) or exchange.status != 200:
                return b""
            cutter = Cutter(LogPosition())
            for piece in exchange.pieces():
                for frame in cutter.cut(piece):
                    tail.add(frame.data)
                    count, size = count + 1, size + len(frame.data)
        if size >= limit or count < lines:
            break
    return tail.value()
