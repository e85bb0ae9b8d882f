"""Feed of events: one thread a process reads the events table, bounded queues pass events to the SSE clients.

The thread reads only while somebody listens. A client that is too slow for its queue loses nothing: it reads
the table from its own cursor, then listens again. Log streams take their seats here as well.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from engine.errors import FerrymanError, StoreUnavailable
from engine.model.records import Event
from engine.store import events
from engine.store.database import Connection, Database

log = logging.getLogger("ferryman.events")

#: Pause between two reads while somebody listens: the longest delay that a live view sees.
POLL_SECONDS = 0.01
#: Longest sleep while nobody listens; the first listener wakes the thread.
IDLE_SECONDS = 30.0
#: Events that may wait for a slow client before it has to read the table.
QUEUE_SIZE = 1000
_RETRY_SECONDS = 1.0
#: A database that was put back in time (a restored backup) is noticed within this time.
_LOOK_BACK_SECONDS = 1.0


class TooManyStreams(FerrymanError):
    """Refusal of another stream while all seats are taken; one may become free in a moment."""

    def __init__(self, seats: int) -> None:
        super().__init__(f"all {seats} streams are in use: close one, or raise FERRYMAN_SSE_CLIENTS")


class Listener:
    """Queue of one client. `behind` is set once events were left out: read the table, then listen again."""

    def __init__(self, matches: Callable[[Event], bool]) -> None:
        self._matches = matches
        self._queue: queue.Queue[Event | None] = queue.Queue(QUEUE_SIZE)
        self.behind = threading.Event()
        #: Set when the database was put back in time: what the client saw is not there any more.
        self.rewound = threading.Event()

    def offer(self, event: Event) -> None:
        """Queue the event if it matches; the feed calls this for every event."""
        if self.behind.is_set() or not self._matches(event):
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.behind.set()

    def wake(self) -> None:
        """End a wait in `next`; with a full queue nobody waits."""
        if self._queue.empty():
            self._queue.put_nowait(None)

    def rewind(self) -> None:
        """Tell the client's stream that the database was put back in time."""
        self.rewound.set()
        self.wake()

    def next(self, seconds: float) -> Event | None:
        """Return the next event, or None when none came in time or the feed ends."""
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return None

    def catch_up(self) -> None:
        """Forget the waiting events and take new ones; the caller reads the table next."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self.behind.clear()


class Feed:
    """Reader thread and its listeners. Thread-safe."""

    def __init__(self, db: Database, seats: int) -> None:
        self._db = db
        self._seats = seats
        #: Guards the three attributes below.
        self._lock = threading.Lock()
        #: Open streams, of logs too; and the listeners among them.
        self._seats_taken = 0
        self._listeners: set[Listener] = set()
        #: Event after which the thread reads on; the first listener sets it.
        self._cursor: str | None = None
        self._look_back_at = 0.0
        self.ending = threading.Event()
        #: Set by the first listener and at the end: wakes the sleeping thread.
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Start the thread; it ends with the process, or by `end`."""
        self._thread.start()

    def end(self) -> None:
        """End all streams within half a second. Signal handlers may call this: it takes no lock of ours."""
        self.ending.set()
        self._wanted.set()

    def take_seat(self) -> None:
        """Take a seat for a stream, to be given back. Raises TooManyStreams."""
        with self._lock:
            if self._seats_taken >= self._seats or self.ending.is_set():
                raise TooManyStreams(self._seats)
            self._seats_taken += 1

    def give_back_seat(self) -> None:
        """Give back the seat of a stream."""
        with self._lock:
            self._seats_taken -= 1

    def listen(self, matches: Callable[[Event], bool]) -> Listener:
        """Add a listener, which is offered every event that is committed after this call.

        Raises StoreUnavailable.
        """
        listener = Listener(matches)
        with self._lock:
            if not self._listeners:
                with self._db.read() as c:
                    self._cursor = events.latest(c)
            self._listeners.add(listener)
        self._wanted.set()
        return listener

    def remove(self, listener: Listener) -> None:
        """Remove a listener."""
        with self._lock:
            self._listeners.discard(listener)

    def _run(self) -> None:
        while not self.ending.is_set():
            try:
                pause = self._read_once()
            except StoreUnavailable as exc:
                log.warning("events are late: the database does not answer: %s", exc)
                pause = _RETRY_SECONDS
            except Exception:
                # The thread serves all listeners of the process: a defect must not end it.
                log.exception("reading events failed")
                pause = _RETRY_SECONDS
            if pause:
                self.ending.wait(pause)
            elif not self.ending.is_set():
                self._wanted.wait(IDLE_SECONDS)
        with self._lock:
            for listener in self._listeners:
                listener.wake()

    def _read_once(self) -> float:
        """Pass on the new events; return the pause in seconds, or 0 to sleep until somebody listens."""
        with self._lock:
            if not self._listeners:
                self._wanted.clear()
                return 0.0
            cursor = self._cursor
        with self._db.read() as c:
            batch = events.after(c, cursor)
            earlier = None if batch or cursor is None else self._earlier_end(c, cursor)
        with self._lock:
            # The last listener may have left meanwhile, and another come with a cursor of its own.
            if self._cursor == cursor and batch:
                self._cursor = batch[-1].cursor
                for listener in self._listeners:
                    for event in batch:
                        listener.offer(event)
            elif self._cursor == cursor and earlier is not None:
                log.warning("the events end before %s: the database was put back in time", cursor)
                self._cursor = earlier
                for listener in self._listeners:
                    listener.rewind()
        return POLL_SECONDS

    def _earlier_end(self, c: Connection, cursor: str) -> str | None:
        """Return the cursor of the newest event if that comes before this cursor; looks once a second."""
        now = time.monotonic()
        if now < self._look_back_at:
            return None
        self._look_back_at = now + _LOOK_BACK_SECONDS
        newest = events.latest(c)
        return newest if events.is_later(c, cursor, newest) else None
