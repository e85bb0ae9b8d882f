"""Stream of updates of one task: states, links and log lines, until the task has ended.

Two API streams feed one queue. The task itself is always read from the API: the streams only tell when to read it.
Standard library only, so that the demo can follow a task before anything is installed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.client import ApiError, ApiUnavailable, Client, Json, LinksClosed, LogChunk
from engine.errors import FerrymanError
from engine.model.log_gap import is_gap

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "SKIPPED")
#: Wait at most this long after the end of the task for the rest of its log.
_LOG_SECONDS = 10.0
#: Read the task again when the streams are silent for this long.
_POLL_SECONDS = 2.0
#: Give up when the API does not answer for this long.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class TaskUpdate:
    """Current state of the task."""

    task: Json


@dataclass(frozen=True)
class LogLine:
    """Complete line of a link's output, or a note of Ferryman (stream 0), without the newline."""

    link: int
    stream: int
    text: str
    #: Docker's time stamp of the line's beginning, or of the note.
    stamp: str = ""


@dataclass(frozen=True)
class EventUpdate:
    """Event of the task: kind, from, to, attempt, node, reason."""

    event: Json

    @property
    def is_retry(self) -> bool:
        """Return whether the event ends an attempt that is tried again: by a retry, a restart or a give-back."""
        event = self.event
        return (event.get("kind"), event.get("from"), event.get("to")) == ("task", "RUNNING", "PENDING")


Update = TaskUpdate | LogLine | EventUpdate
_LOG_END, _EVENTS_END = "end of log", "end of events"
_Received = EventUpdate | LogChunk | LinksClosed | FerrymanError | str
_Inbox = queue.SimpleQueue[_Received]


@dataclass
class LineBuffer:
    """Assembler of complete lines from log chunks, per link and stream."""

    #: (attempt, origin, link, stream) -> pieces of the line without its end, and the stamp of its beginning. A long
    #: line comes in thousands of pieces: they are joined once.
    _partial: dict[tuple[int, int, int, int], tuple[list[str], str]] = field(default_factory=dict)

    def add(self, chunk: LogChunk) -> Iterator[LogLine]:
        """Take a chunk; yield the lines that it completes."""
        for stream, stamp, text in chunk.frames:
            if is_gap(stream, text):
                yield from self.flush()
            key = (chunk.attempt, chunk.origin, chunk.link, stream)
            pieces, since = self._partial.pop(key, ([], stamp))
            *ended, rest = text.split("\n")
            for piece in ended:
                yield LogLine(chunk.link, stream, "".join([*pieces, piece]), since)
                pieces, since = [], stamp
            pieces += [rest] if rest else []
            if pieces and stream == 0:
                yield LogLine(chunk.link, stream, "".join(pieces), stamp)
            elif pieces:
                self._partial[key] = (pieces, since)

    def flush(self, before: LinksClosed | None = None) -> Iterator[LogLine]:
        """Yield the lines that have no newline yet: all, or those of the links that are closed `before` a point."""
        for key in list(self._partial):
            if before is None or LinksClosed(*key[:3]) < before:
                pieces, since = self._partial.pop(key)
                yield LogLine(key[2], key[3], "".join(pieces), since)


def follow(client: Client, task: Json) -> Iterator[Update]:
    """Yield updates until the task has ended and its log is read; the last update is the ended task.

    A link is shown as ended, and an attempt as tried again, after the last line of its log. Raises ApiUnavailable
    when the API does not answer for a minute; the task itself goes on.
    """
    follower, ended_at = _Follower(client, task), None
    yield TaskUpdate(task)
    while True:
        yield from follower.take(_take_batch(follower.inbox))
        task = follower.task
        if task["state"] in ENDED:
            ended_at = ended_at or time.monotonic()
            if not follower.log_open or time.monotonic() - ended_at > _LOG_SECONDS:
                yield from follower.rest()
                yield TaskUpdate(task)
                return


class _Follower:
    """Merger of a task's two streams and its present state."""

    def __init__(self, client: Client, task: Json) -> None:
        self.inbox: _Inbox = queue.SimpleQueue()
        self.log_open = True
        self._lines = LineBuffer()
        self._poller = _TaskPoller(client, task)
        self._closed = LinksClosed()
        #: Ends of attempts whose log is not complete yet.
        self._retries: list[EventUpdate] = []
        for read in (_read_events, _read_log):
            threading.Thread(target=read, args=(client, task["id"], self.inbox), daemon=True).start()

    @property
    def task(self) -> Json:
        """The task as it was last read."""
        return self._poller.task

    def take(self, batch: Sequence[_Received]) -> Iterator[Update]:
        """Take what the streams delivered; yield what can be shown now."""
        for item in batch:
            if isinstance(item, FerrymanError):
                raise item
            yield from self._take_one(item)
        self.log_open = self.log_open and _LOG_END not in batch
        if not batch or not self.log_open or any(isinstance(item, EventUpdate) for item in batch):
            yield from self._task_update()

    def rest(self) -> Iterator[Update]:
        """Yield what has waited for more of the log."""
        yield from self._lines.flush()
        yield from self._retries

    def _take_one(self, item: _Received) -> Iterator[Update]:
        if isinstance(item, LogChunk):
            # The first output of a link comes after all output of the links and runs before it.
            begin = LinksClosed(item.attempt, item.origin, item.link, delivery=item.origin)
            yield from self._go_on_to(begin) if begin > self._closed else ()
            yield from self._lines.add(item)
        elif isinstance(item, LinksClosed):
            yield from self._go_on_to(item)
        elif isinstance(item, EventUpdate) and item.is_retry:
            self._retries.append(item)
        elif isinstance(item, EventUpdate):
            yield item

    def _go_on_to(self, closed: LinksClosed) -> Iterator[Update]:
        self._closed = closed
        yield from self._lines.flush(closed)
        while self._retries and _is_drained(self._retries[0], closed):
            yield self._retries.pop(0)
        yield from self._task_update()

    def _task_update(self) -> Iterator[Update]:
        was_away = self._poller.is_away
        task, closed = self._poller.poll(), self._closed
        if self._poller.is_away != was_away:
            reason = (
                "the API answers again" if was_away else "the API does not answer: trying again for a minute"
            )
            yield EventUpdate({"kind": "note", "reason": reason})
        if not self.log_open:
            yield TaskUpdate(task)
        elif (task["attempt"], task["delivery"]) <= (closed.attempt, closed.delivery) or not closed.attempt:
            yield TaskUpdate(_as_far_as_logged(task, closed))


def _is_drained(retry: EventUpdate, closed: LinksClosed) -> bool:
    """Return whether the log of the run that the event ended has been received."""
    return (closed.attempt, closed.delivery) > (retry.event.get("attempt", 0), retry.event.get("delivery", 0))


def _as_far_as_logged(task: Json, closed: LinksClosed) -> Json:
    """Return the task as far as its log was received: a link begins when all output before it is there."""

    def state(link: Json) -> str:
        run = (link.get("attempt", 0), link.get("origin", 0))
        if run < (closed.attempt, closed.origin) or link["index"] < closed.links:
            return str(link["state"])
        if link["index"] > closed.links or not link.get("startedAt"):
            return "WAITING"
        return "CONFIRMED"

    return task | {"links": [link | {"state": state(link)} for link in task.get("links") or ()]}


def last_task(updates: Iterator[Update], task: Json) -> Json:
    """Consume all updates without showing them; return the last state of the task."""
    for update in updates:
        if isinstance(update, TaskUpdate):
            task = update.task
    return task


@dataclass
class _TaskPoller:
    """Reader of the task that tolerates an API that is away for a moment (a restart)."""

    client: Client
    task: Json
    is_away: bool = False
    _answered_at: float = field(default_factory=time.monotonic)

    def poll(self) -> Json:
        try:
            self.task = self.client.task(self.task["id"])
            self._answered_at, self.is_away = time.monotonic(), False
        except (ApiUnavailable, ApiError) as exc:
            self.is_away = isinstance(exc, ApiUnavailable) or exc.status == 503
            if not self.is_away or time.monotonic() - self._answered_at > _PATIENCE_SECONDS:
                raise
        return self.task


def _take_batch(inbox: _Inbox) -> list[_Received]:
    """Wait for the first item, then take all that are there; return [] after `_POLL_SECONDS`."""
    batch: list[_Received] = []
    with contextlib.suppress(queue.Empty):
        batch.append(inbox.get(timeout=_POLL_SECONDS))
        while len(batch) < 500:
            batch.append(inbox.get_nowait())
    return batch


def _read_events(client: Client, id: str, inbox: _Inbox) -> None:
    try:
        for event in client.events(task=id):
            inbox.put(EventUpdate(event))
        inbox.put(_EVENTS_END)
    except FerrymanError as exc:
        inbox.put(exc)


def _read_log(client: Client, id: str, inbox: _Inbox) -> None:
    try:
        for item in client.log_and_ends(id):
            inbox.put(item)
    except FerrymanError as exc:
        if not (isinstance(exc, ApiError) and exc.status == 404):
            inbox.put(exc)
    inbox.put(_LOG_END)


def links(task: Json) -> list[Json]:
    """Return the links of the current run, in order; before the first claim, the links of the job file."""
    if task.get("links"):
        return list(task["links"])
    specs = [
        *(("pre", spec) for spec in task.get("pre") or ()),
        ("main", task),
        *(("post", spec) for spec in task.get("post") or ()),
    ]
    return [
        {
            "index": i,
            "kind": kind,
            "name": None if kind == "main" else spec.get("name"),
            "image": spec.get("image"),
            "state": "WAITING",
        }
        for i, (kind, spec) in enumerate(specs)
    ]


def failed_link(task: Json) -> Json | None:
    """Return the link that failed the task; None without one (a time-out before the first link, a crash)."""
    return next((link for link in links(task) if link.get("exitCode") or link.get("error")), None)
