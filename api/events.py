"""Streams of events (SSE) in commit order, from the beginning or after the last event that a client saw.

The stream of a task or job replays from its first event and ends after its last; a stream of all begins now.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from typing import Any

from flask import Response, request

from api import answers, sse
from api.context import ApiContext, get_context
from api.problem import RequestRefused
from api.turns import TooBusy
from engine.errors import StoreUnavailable
from engine.model.records import Event
from engine.model.states import ENDED, JobState
from engine.store import events, jobs, tasks
from engine.store.database import Connection

log = logging.getLogger("ferryman.events")

#: Longest wait for an event: the stream notices the stop of its process after it.
_WAIT_SECONDS = 1.0
#: The table is read again this often, whatever the feed offered.
_READ_AGAIN_SECONDS = 15.0
_BATCH = 500
_LAST_STATES = {*ENDED, *(state for state in JobState if state.ended)}


def stream_events(query: dict[str, Any]) -> Response:
    """Stream events as they happen (SSE). Last-Event-ID resumes after that event."""
    stream = EventStream(get_context(), task=query["task"], job=query["job"])
    stream.resume_after(request.headers.get("Last-Event-ID"))
    return sse.stream(stream.context.feed, stream.messages)


class EventStream:
    """Events for one client, from the table first, then from the feed."""

    def __init__(self, context: ApiContext, *, task: str | None, job: str | None) -> None:
        """Resolve the ids. Raises RequestRefused, NotFound, Ambiguous, StoreUnavailable."""
        if task is not None and job is not None:
            raise RequestRefused(400, "both task and job are given", "give one of them")
        self.context = context
        self.task_id: str | None = None
        self.job_id: str | None = None
        #: Cursor of the last event that the client saw, or None.
        self._cursor: str | None = None
        self._reset = self._done = False
        if (id := task or job) is None:
            return
        with context.installation.db.read() as c:
            ids = jobs.resolve(c, id)
        # The id of a job with one task, given as a task's, is the task; any other id of a job is the job.
        if task is not None and ids.task_id is not None:
            self.task_id = ids.task_id
        else:
            self.job_id = ids.job_id

    def resume_after(self, cursor: str | None) -> None:
        """Begin after this event. Raises UnknownCursor for a malformed cursor, and StoreUnavailable.

        A cursor after all events comes from another database: the client gets `reset`, then all from the start.
        """
        with self.context.installation.db.read() as c:
            self._cursor = cursor
            is_ahead = cursor is not None and events.is_later(c, cursor, events.latest(c))
            self._reset = is_ahead and self._end_state(c) is None
            if self._reset:
                self._cursor = None
            if self._cursor is None and self.task_id is None and self.job_id is None:
                self._cursor = events.latest(c)

    def messages(self) -> Generator[str]:
        """Yield the messages. After an error the stream just ends, because its 200 is sent: clients reconnect."""
        feed, listener = self.context.feed, None
        try:
            listener = feed.listen(self._matches)
            if self._reset:
                yield sse.message("reset", {}, "")
            yield from self._replay()
            last_read = time.monotonic()
            while not self._done and not feed.ending.is_set():
                event = listener.next(_WAIT_SECONDS)
                if event is not None:
                    yield from self._send(event)
                else:
                    yield sse.IDLE
                if listener.rewound.is_set():
                    listener.rewound.clear()
                    listener.catch_up()
                    yield from self._start_again()
                elif listener.behind.is_set() or time.monotonic() - last_read >= _READ_AGAIN_SECONDS:
                    listener.catch_up()
                    yield from self._replay()
                    last_read = time.monotonic()
        except (StoreUnavailable, TooBusy) as exc:
            log.warning("ending an event stream: %s", exc)
        finally:
            if listener is not None:
                feed.remove(listener)

    def _start_again(self) -> Iterator[str]:
        """Tell the client that what it saw is not there any more, then yield all events, or those from now on."""
        with self.context.turns.turn(), self.context.installation.db.read() as c:
            is_gone = (self.task_id is not None and tasks.get(c, self.task_id) is None) or (
                self.job_id is not None and jobs.get(c, self.job_id) is None
            )
            self._cursor = None if self.task_id or self.job_id else events.latest(c)
        # A client that comes back is told that there is no such task or job.
        self._done = is_gone
        yield sse.message("reset", {}, "")
        if not is_gone:
            yield from self._replay()

    def _matches(self, event: Event) -> bool:
        if self.task_id is not None:
            return event.task_id == self.task_id
        return self.job_id is None or event.job_id == self.job_id

    def _send(self, event: Event) -> Iterator[str]:
        if self._cursor is None or _sort_key(event.cursor) > _sort_key(self._cursor):
            yield self._message(event)
            if event.to_state in _LAST_STATES:
                yield from self._replay()

    def _message(self, event: Event) -> str:
        self._cursor = event.cursor
        return sse.message("event", answers.event(event), event.cursor)

    def _replay(self) -> Iterator[str]:
        """Yield the events of the table after the cursor, and `end` when the task or job has ended."""
        while not self.context.feed.ending.is_set():
            with self.context.turns.turn(), self.context.installation.db.read() as c:
                # In this order: once the end is visible, all events before it are too.
                end_state = self._end_state(c)
                batch = events.after(
                    c,
                    self._cursor,
                    task_id=self.task_id,
                    job_id=self.job_id,
                    limit=_BATCH,
                    settled=end_state is not None,
                )
            for event in batch:
                yield self._message(event)
            if len(batch) < _BATCH:
                if end_state is not None:
                    self._done = True
                    yield sse.message("end", {"state": end_state})
                return

    def _end_state(self, c: Connection) -> str | None:
        """Return the state in which the task or job ended, or None; a stream of all has no end."""
        if self.task_id is not None:
            task = tasks.get(c, self.task_id)
            return task.state if task is not None and task.state.ended else None
        if self.job_id is not None:
            job = jobs.get(c, self.job_id)
            return job.state if job is not None and job.state.ended else None
        return None


def _sort_key(cursor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in cursor.split("-"))
