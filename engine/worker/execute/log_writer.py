"""Log sink of a link: stores the container's output in chunks, with the position from which a successor reads on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from engine.errors import StoreUnavailable
from engine.lifecycle.append_log import append_log
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model.records import LogFrame, LogPosition
from engine.runtime.base import Control
from engine.store import links, logs

log = logging.getLogger("ferryman.logs")

#: A chunk is written after this time, or as soon as it has this size.
_EVERY_SECONDS = 0.1
_CHUNK_BYTES = 64 << 10
#: `write` blocks while this much waits, besides the chunk being stored: a slow database must not fill the memory.
_MOST_BYTES = 1 << 20
#: The stream of our own lines, beside 1 (stdout) and 2 (stderr).
_NOTE = 0


class LogWriter:
    """Buffer between the runtime's log reader and the store; a thread of its own writes the chunks.

    While the database is away the reader waits and no output is lost. A refused token (the link is fenced) ends the
    writing: another delivery reads the container's log from the stored position.
    """

    def __init__(self, installation: Installation, assignment: Assignment, control: Control) -> None:
        self._installation = installation
        self._assignment = assignment
        self._control = control
        self._changed = threading.Condition()
        self._pieces: list[logs.Piece] = []
        self._bytes = 0
        # No container of a waiting link has run, so no output of the link is stored.
        self._position = LogPosition() if assignment.waits else self._stored_position()
        self._refused = False
        self._closing = False
        #: Set by `close`: the database was away too long, and the last output is in the container's log only.
        self.is_behind = False
        #: Started with the first output.
        self._thread: threading.Thread | None = None

    def _stored_position(self) -> LogPosition:
        order = self._assignment.order
        with self._installation.db.read() as c:
            return links.log_position(c, order.run, order.index)

    def position(self) -> LogPosition:
        """Return the position up to which this container's log was taken."""
        with self._changed:
            return self._position

    def write(self, frames: Sequence[LogFrame]) -> None:
        """Take frames in order; block while too much waits to be stored."""
        # Serialized in the reader's thread, while the writer's thread waits for a commit.
        piece = logs.piece(
            [(stream, stamp, data.decode("utf-8", "replace")) for stream, stamp, data in frames]
        )
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < _MOST_BYTES or self._refused)
            if self._refused:
                return
            self._position = self._position.after(frames)
            self._add(piece)

    def note(self, text: str) -> None:
        """Take a line that Ferryman adds to the log."""
        line = text if text.endswith("\n") else text + "\n"
        with self._changed:
            if not self._refused:
                self._add(logs.piece([(_NOTE, "", line)]))

    def _add(self, piece: logs.Piece) -> None:
        self._pieces.append(piece)
        self._bytes += piece.size
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        elif self._bytes >= _CHUNK_BYTES:
            self._changed.notify_all()

    def close(self, seconds: float = 30.0) -> bool:
        """Store what waits, within `seconds`. Return True when all output is stored."""
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
            self._store_chunks()
        except Exception:
            # A reader must not wait for a thread that has ended.
            log.exception("the log of this link is no longer stored; the link goes on")
            self._refuse()

    def _store_chunks(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._bytes >= _CHUNK_BYTES, _EVERY_SECONDS)
                if self._refused or (self._closing and not self._pieces):
                    return
                if not self._pieces:
                    continue
                pieces, position = self._pieces, self._position
                # The reader fills the next chunk while this one is stored.
                self._pieces, self._bytes = [], 0
                self._changed.notify_all()
            if not self._store(pieces, position):
                return

    def _store(self, pieces: list[logs.Piece], position: LogPosition) -> bool:
        """Store one chunk, however long the database is away; return False when refused, closed or detached."""
        while not self._refused:
            try:
                if append_log(self._installation, self._assignment, pieces, position):
                    return True
                break
            except StoreUnavailable as exc:
                log.warning("the database does not answer, the log waits: %s", exc)
                # Not a wait for `control.changed`: a kill sets it for good, and this loop would spin.
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
