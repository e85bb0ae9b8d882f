"""Events as they come (SSE), in commit order, from the beginning or from where a client left off.

For one task or job the stream replays from the first event and ends after the last; for all it begins now.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from flask import Response, request

from api import answers, sse
from api.context import ApiContext, get_context
from api.problem import Refused
from engine.errors import StoreUnavailable
from engine.model.records import Event
from engine.model.states import ENDED, JobState
from engine.store import events, jobs, tasks
from engine.store.database import Connection

log = logging.getLogger("ferryman.events")

#: A stop is noticed within this time.
_LISTEN_SECONDS = 1.0
_BATCH = 500
_LAST_STATES = {*ENDED, *(state for state in JobState if state.ended)}


def stream_events(asked: dict[str, Any]) -> Response:
    """What happens, as it happens. Last-Event-ID goes on behind that event."""
    following = Following(get_context(), task=asked["task"], job=asked["job"])
    following.go_on_after(request.headers.get("Last-Event-ID"))
    return sse.stream(following.context.feed, following.messages)


class Following:
    """One client's way through the events: the table first, then the feed."""

    def __init__(self, context: ApiContext, *, task: str | None, job: str | None) -> None:
        """Resolve the ids. Raises Refused, NotFound, Ambiguous, StoreUnavailable."""
        if task is not None and job is not None:
            raise Refused(400, "task and job are both asked for", "ask for one of them")
        self.context = context
        self.task_id: str | None = None
        self.job_id: str | None = None
        #: The last event that the client saw, None: none.
        self._cursor: str | None = None
        self._reset = self._done = False
        if (id := task or job) is None:
            return
        with context.db.read() as c:
            found = jobs.resolve(c, id)
        # A job of one task and its task end together: the job's stream holds both.
        if task is not None and found.task_id is not None:
            self.task_id = found.task_id
        else:
            self.job_id = found.job_id

    def go_on_after(self, cursor: str | None) -> None:
        """Begin behind this event. Raises UnknownCursor when it is no cursor, StoreUnavailable.

        One that lies ahead of all events is another database's: the client is told (`reset`), and served anew.
        """
        with self.context.db.read() as c:
            self._cursor = cursor
            ahead = cursor is not None and events.is_later(c, cursor, events.latest(c))
            self._reset = ahead and self._end(c) is None
            if self._reset:
                self._cursor = None
            if self._cursor is None and self.task_id is None and self.job_id is None:
                self._cursor = events.latest(c)

    def messages(self) -> Iterator[str]:
        """The stream. An answer that has begun cannot turn into an error: it ends, and the client asks again."""
        feed, listener = self.context.feed, None
        try:
            listener = feed.listen(self._fits)
            if self._reset:
                yield sse.message("reset", {})
            yield from self._replay()
            heard = time.monotonic()
            while not self._done and not feed.ending.is_set():
                if listener.behind.is_set():
                    listener.catch_up()
                    yield from self._replay()
                elif (event := listener.next(_LISTEN_SECONDS)) is not None:
                    heard = time.monotonic()
                    yield from self._tell(event)
                elif time.monotonic() - heard >= sse.KEEP_ALIVE_SECONDS:
                    heard = time.monotonic()
                    yield sse.KEEP_ALIVE
                    yield from self._replay()
        except StoreUnavailable as exc:
            log.warning("a stream of events ends, the database does not answer: %s", exc)
        finally:
            if listener is not None:
                feed.leave(listener)

    def _fits(self, event: Event) -> bool:
        if self.task_id is not None:
            return event.task_id == self.task_id
        return self.job_id is None or event.job_id == self.job_id

    def _tell(self, event: Event) -> Iterator[str]:
        if self._cursor is None or _place(event.cursor) > _place(self._cursor):
            yield self._message(event)
            if event.to_state in _LAST_STATES:
                yield from self._replay()

    def _message(self, event: Event) -> str:
        self._cursor = event.cursor
        return sse.message("event", answers.event(event), event.cursor)

    def _replay(self) -> Iterator[str]:
        """What the table holds behind the cursor, and the end when there is one."""
        while not self.context.feed.ending.is_set():
            with self.context.db.read() as c:
                # In this order: an end that is seen has its events before it.
                end = self._end(c)
                found = events.after(
                    c,
                    self._cursor,
                    task_id=self.task_id,
                    job_id=self.job_id,
                    limit=_BATCH,
                    settled=end is not None,
                )
            for event in found:
                yield self._message(event)
            if len(found) < _BATCH:
                if end is not None:
                    self._done = True
                    yield sse.message("end", {"state": end})
                return

    def _end(self, c: Connection) -> str | None:
        """The state in which the followed thing ended, None: it has not, or all is followed."""
        if self.task_id is not None:
            task = tasks.get(c, self.task_id)
            return task.state if task is not None and task.state.ended else None
        if self.job_id is not None:
            job = jobs.get(c, self.job_id)
            return job.state if job is not None and job.state.ended else None
        return None


def _place(cursor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in cursor.split("-"))
