"""One reader of the events table a process, which feeds this process's SSE clients by bounded queues.

It reads only while somebody listens. A client that is too slow for its queue loses nothing: it reads the
table itself from its own cursor, and then listens again. Streams of logs take their seats here as well.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator

from engine.errors import FerrymanError, StoreUnavailable
from engine.model.records import Event
from engine.store import events
from engine.store.database import Database

log = logging.getLogger("ferryman.events")

#: Between two looks while somebody listens: what a live view is late at most.
POLL_SECONDS = 0.01
#: While nobody listens the reader sleeps, until the first listener wakes it; unasked, so often.
IDLE_SECONDS = 30.0
#: Events that wait for a slow client before it is sent back to the table.
QUEUE_SIZE = 1000
_AWAY_SECONDS = 1.0


class TooManyListeners(FerrymanError):
    """All seats for streams are taken; one may be free in a moment."""

    def __init__(self, seats: int) -> None:
        super().__init__(
            f"{seats} streams are open, more are not served: close one, or raise FERRYMAN_SSE_CLIENTS"
        )


class Listener:
    """One client's queue. `behind` is set when events were left out: read the table, then listen again."""

    def __init__(self, fits: Callable[[Event], bool]) -> None:
        self._fits = fits
        self._queue: queue.Queue[Event | None] = queue.Queue(QUEUE_SIZE)
        self.behind = threading.Event()

    def offer(self, event: Event) -> None:
        """Called by the reader for every event."""
        if self.behind.is_set() or not self._fits(event):
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.behind.set()

    def wake(self) -> None:
        """End a wait in `next`; a full queue needs no waking."""
        if self._queue.empty():
            self._queue.put_nowait(None)

    def next(self, seconds: float) -> Event | None:
        """The next event, None when none came in time or the feed ends."""
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return None

    def catch_up(self) -> None:
        """Forget what waits, and take events from now on: the table is read next."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self.behind.clear()


class Feed:
    """The reader and its listeners. Thread-safe."""

    def __init__(self, db: Database, seats: int) -> None:
        self._db = db
        self._seats = seats
        self._lock = threading.Lock()
        #: Touched under the lock: everyone with a seat, and those of them who listen to events.
        self._taken = 0
        self._listeners: set[Listener] = set()
        #: Behind which event the reader goes on; None: set it anew when the first listener comes.
        self._cursor: str | None = None
        self.ending = threading.Event()
        #: Set by the first listener, and at the end: what the sleeping reader waits for.
        self._called = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Start the reader; it ends with the process, or by `end`."""
        self._thread.start()

    def end(self) -> None:
        """End all streams within half a second. May be called from a signal handler: it takes no lock of ours."""
        self.ending.set()
        self._called.set()

    def take_seat(self) -> None:
        """Count one stream in. Raises TooManyListeners; each seat must be given back."""
        with self._lock:
            if self._taken >= self._seats or self.ending.is_set():
                raise TooManyListeners(self._seats)
            self._taken += 1

    def give_back_seat(self) -> None:
        """Count one stream out."""
        with self._lock:
            self._taken -= 1

    def listen(self, fits: Callable[[Event], bool]) -> Listener:
        """Take part from now on: every event committed after this call is offered, if it fits.

        Raises StoreUnavailable.
        """
        listener = Listener(fits)
        with self._lock:
            if not self._listeners:
                with self._db.read() as c:
                    self._cursor = events.latest(c)
            self._listeners.add(listener)
        self._called.set()
        return listener

    def leave(self, listener: Listener) -> None:
        """Take part no more."""
        with self._lock:
            self._listeners.discard(listener)

    def _run(self) -> None:
        while not self.ending.is_set():
            try:
                pause = self._look()
            except StoreUnavailable as exc:
                log.warning("events are late, the database does not answer: %s", exc)
                pause = _AWAY_SECONDS
            except Exception:
                # The thread serves all listeners of the process: a defect must not end it.
                log.exception("reading events")
                pause = _AWAY_SECONDS
            if pause:
                self.ending.wait(pause)
            elif not self.ending.is_set():
                self._called.wait(IDLE_SECONDS)
        with self._lock:
            for listener in self._listeners:
                listener.wake()

    def _look(self) -> float:
        """Read and hand out what is new; says how long to wait then: 0 means until somebody listens."""
        with self._lock:
            if not self._listeners:
                self._called.clear()
                return 0.0
            cursor = self._cursor
        found = list(self._new(cursor))
        with self._lock:
            # The last listener may have left and another come meanwhile, with a cursor of its own.
            if self._cursor == cursor and found:
                self._cursor = found[-1].cursor
                for listener in self._listeners:
                    for event in found:
                        listener.offer(event)
        return POLL_SECONDS

    def _new(self, cursor: str | None) -> Iterator[Event]:
        with self._db.read() as c:
            yield from events.after(c, cursor)
