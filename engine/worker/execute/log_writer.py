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

#: A chunk is written after this time, or as soon as it has this many characters as stored: with the stamps, which of
#: short lines are far more than the text.
_EVERY_SECONDS = 0.1
_CHUNK_CHARACTERS = 128 << 10
#: `write` blocks while this much waits, besides the chunk being stored: a slow database must not fill the memory.
_MOST_CHARACTERS = 2 << 20
#: A chunk that meets a defect is tried this often, with growing pauses: about 15 s.
_MOST_DEFECTS = 5
#: The stream of our own lines, beside 1 (stdout) and 2 (stderr).
_NOTE = 0
#: Note before the first text that most readers cannot be given as written.
_ESCAPED = (
    "the container writes bytes that are not UTF-8: U+FFFD stands for each, but the log as text has them\n"
)


class LogWriter:
    """Buffer between the runtime's log reader and the store; a thread of its own writes the chunks.

    While the database is away the reader waits and no output is lost. A refused token (the link is fenced) ends the
    writing: another delivery reads the container's log from the stored position. A writer that ends for any other
    reason is behind: it detaches the link, whose row is then retaken, and the log is read on in the same way.
    """

    def __init__(self, installation: Installation, assignment: Assignment, control: Control) -> None:
        self._installation = installation
        self._assignment = assignment
        self._control = control
        self._changed = threading.Condition()
        self._pieces: list[logs.Piece] = []
        self._characters = 0
        # No container of a waiting link has run, so no output of the link is stored.
        self._position = LogPosition() if assignment.waits else self._stored_position()
        #: Number of the chunk that comes next; asked for before the first, since other links have written.
        self._next_seq: int | None = None
        self._has_escaped = False
        #: True when the token was refused.
        self._is_refused = False
        #: True when nothing more is taken.
        self._is_over = False
        self._closing = False
        self._is_complete = False
        #: Set by `close`: output is missing, and not because the token was refused.
        self.is_behind = False
        #: Started with the first output.
        self._thread: threading.Thread | None = None

    def _stored_position(self) -> LogPosition:
        order = self._assignment.order
        with self._installation.db.read() as c:
            return links.log_position(c, order.run, order.index)

    def _stored_next_seq(self) -> int:
        with self._installation.db.read() as c:
            return logs.next_chunk(c, self._assignment.token.task_id)

    def position(self) -> LogPosition:
        """Return the position up to which this container's log was taken."""
        with self._changed:
            return self._position

    def write(self, frames: Sequence[LogFrame]) -> None:
        """Take frames in order; block while too much waits to be stored."""
        # Serialized in the reader's thread, while the writer's thread waits for a commit.
        piece = logs.piece(self._as_text(frames))
        with self._changed:
            self._changed.wait_for(lambda: self._characters < _MOST_CHARACTERS or self._is_over)
            if self._is_over:
                return
            self._position = self._position.after(frames)
            self._add(piece)

    def _as_text(self, frames: Sequence[LogFrame]) -> list[logs.Frame]:
        try:
            return [(stream, stamp, data.decode()) for stream, stamp, data in frames]
        except UnicodeDecodeError:
            notes: list[logs.Frame] = [] if self._has_escaped else [(_NOTE, "", _ESCAPED)]
            self._has_escaped = True
            return notes + [
                (stream, stamp, data.decode("utf-8", "surrogateescape")) for stream, stamp, data in frames
            ]

    def note(self, text: str) -> None:
        """Take a line that Ferryman adds to the log."""
        line = text if text.endswith("\n") else text + "\n"
        with self._changed:
            if not self._is_over:
                self._add(logs.piece([(_NOTE, "", line)]))

    def _add(self, piece: logs.Piece) -> None:
        self._pieces.append(piece)
        self._characters += len(piece.text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        elif self._characters >= _CHUNK_CHARACTERS:
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
            is_stored = thread is None or (self._is_complete and not thread.is_alive())
            self.is_behind = not (is_stored or self._is_refused)
            self._is_over = True
            self._changed.notify_all()
        return is_stored

    def _run(self) -> None:
        try:
            self._is_complete = self._store_chunks()
        except BaseException:
            log.exception("the writer of a link's log ended: the link is let go and retaken")
        finally:
            # A reader must not wait for a thread that has ended.
            with self._changed:
                self._is_over = True
                self._pieces = []
                self._changed.notify_all()
            if not (self._is_complete or self._is_refused):
                self._control.detach()

    def _store_chunks(self) -> bool:
        """Store chunks until the writer is closed; return True when all are stored."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or self._characters >= _CHUNK_CHARACTERS, _EVERY_SECONDS
                )
                if self._is_over or (self._closing and not self._pieces):
                    return not (self._is_over or self._pieces)
                if not self._pieces:
                    continue
                pieces, position = self._pieces, self._position
                # The reader fills the next chunk while this one is stored.
                self._pieces, self._characters = [], 0
                self._changed.notify_all()
            if not self._store(pieces, position):
                return False

    def _store(self, pieces: list[logs.Piece], position: LogPosition) -> bool:
        """Store one chunk, however long the database is away.

        Return False when refused, closed or detached, when a defect stays, and when stored chunks are gone.
        """
        defects = 0
        while not self._is_over:
            pause = 1.0
            try:
                if self._next_seq is None:
                    self._next_seq = self._stored_next_seq()
                # If the chunk was stored and only the answer was lost, or is late, it is not stored again.
                next_seq = append_log(self._installation, self._assignment, pieces, position, self._next_seq)
                if next_seq is not None and next_seq <= self._next_seq:
                    log.warning("the stored log ends earlier than before: the database was put back in time")
                    return False
                self._is_refused = next_seq is None
                self._next_seq = next_seq
                return not self._is_refused
            except StoreUnavailable as exc:
                log.warning("the database does not answer, the log waits: %s", exc)
            except Exception as exc:
                defects += 1
                pause = 0.5 * 2**defects
                if defects == 1:
                    log.exception("a part of the log cannot be stored, trying again")
                elif defects == _MOST_DEFECTS:
                    log.error("a part of the log still cannot be stored, the link is let go: %r", exc)
                    return False
            # Not a wait for `control.changed`: a kill sets it for good, and this loop would spin.
            time.sleep(pause)
            if self._control.detached:
                return False
        return False
