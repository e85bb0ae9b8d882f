"""LogSink of a link: output in chunks to the store, under the token, with the position that a successor needs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from engine.errors import StoreUnavailable
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model.records import LogFrame, LogPosition
from engine.runtime.base import Control
from engine.store import logs

log = logging.getLogger("ferryman.logs")

#: A chunk is written at the latest after this, or when it holds this much.
_EVERY_SECONDS = 0.1
_CHUNK_BYTES = 64 << 10
#: A writer waits while this much waits for its turn, beside what is being stored: memory stays flat when the
#: database is slow.
_MOST_BYTES = 1 << 20
_NOTE = 0


class LogWriter:
    """Takes frames from the runtime's reader and stores them; a thread of its own writes what waits.

    A store that is away makes the reader wait, not lose. A refused token (fenced) ends the shipping: another
    delivery reads the container's log from the stored position on.
    """

    def __init__(self, installation: Installation, assignment: Assignment, control: Control) -> None:
        self._installation = installation
        self._assignment = assignment
        self._control = control
        self._changed = threading.Condition()
        self._pieces: list[logs.Piece] = []
        self._bytes = 0
        # Of a link that waits nothing was stored: no container of it has run.
        self._position = LogPosition() if assignment.waits else self._stored_position()
        self._refused = False
        self._closing = False
        #: After `close`: the store was away too long, and what came last is in the container's log only.
        self.is_behind = False
        #: Begun with the first frames: a link without output needs none.
        self._thread: threading.Thread | None = None

    def _stored_position(self) -> LogPosition:
        order = self._assignment.order
        with self._installation.db.read() as c:
            return logs.position(c, order.task_id, order.attempt, order.origin, order.index)

    def position(self) -> LogPosition:
        """How far this container's log was taken."""
        with self._changed:
            return self._position

    def write(self, frames: Sequence[LogFrame]) -> None:
        """Take frames in order; waits while too much is not stored yet."""
        # Made ready here: beside the thread that stores, whose commits need no interpreter.
        piece = logs.piece(
            [(stream, stamp, data.decode("utf-8", "replace")) for stream, stamp, data in frames]
        )
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < _MOST_BYTES or self._refused)
            if self._refused:
                return
            self._position = self._position.after(frames)
            self._take(piece)

    def note(self, text: str) -> None:
        """Take a line of ours."""
        line = text if text.endswith("\n") else text + "\n"
        with self._changed:
            if not self._refused:
                self._take(logs.piece([(_NOTE, "", line)]))

    def _take(self, piece: logs.Piece) -> None:
        self._pieces.append(piece)
        self._bytes += piece.size
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)
            self._thread.start()
        elif self._bytes >= _CHUNK_BYTES:
            self._changed.notify_all()

    def close(self, seconds: float = 30.0) -> bool:
        """Store what is left; False when it could not be stored in time (its position then tells so)."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        with self._changed:
            self.is_behind = thread is not None and thread.is_alive()
            stored = not (self._refused or self._pieces or self.is_behind)
            self._refused = True
            self._changed.notify_all()
        return stored

    def _run(self) -> None:
        try:
            self._ship()
        except Exception:
            # Nobody may wait for a writer that is no more.
            log.exception("a log is not stored any more")
            self._refuse()

    def _ship(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._bytes >= _CHUNK_BYTES, _EVERY_SECONDS)
                if self._refused or (self._closing and not self._pieces):
                    return
                if not self._pieces:
                    continue
                pieces, position = self._pieces, self._position
                # The next ones are read while these are stored.
                self._pieces, self._bytes = [], 0
                self._changed.notify_all()
            if not self._store(pieces, position):
                return

    def _store(self, pieces: list[logs.Piece], position: LogPosition) -> bool:
        """Write one chunk, however long the store is away; False when the token is refused or we are done."""
        order, limit = self._assignment.order, self._installation.settings.log_bytes
        while not self._refused:
            try:
                with self._installation.db.begin() as c:
                    token = self._assignment.token
                    if logs.append(c, token, order.origin, order.index, pieces, position, limit):
                        return True
                break
            except StoreUnavailable as exc:
                log.warning("a log waits: %s", exc)
                # Not on `changed`: it stays set after a kill, and this loop would spin.
                time.sleep(1.0)
                if self._control.detached:
                    break
        self._refuse()
        return False

    def _refuse(self) -> None:
        with self._changed:
            self._refused = True
            self._pieces = []
            self._changed.notify_all()
