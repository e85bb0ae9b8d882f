"""Stream of updates of one task: states, links and log lines, until the task has ended.

Two API streams feed one queue. The task itself is always read from the API: the streams only tell when to read it.
Standard library only, so that the demo can follow a task before anything is installed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.client import ApiError, ApiUnavailable, Client, Json, LogChunk
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


@dataclass(frozen=True)
class EventUpdate:
    """Event of the task: kind, from, to, node, reason."""

    event: Json


Update = TaskUpdate | LogLine | EventUpdate
_LOG_END, _EVENTS_END = "end of log", "end of events"
_Received = EventUpdate | LogChunk | FerrymanError | str
_Inbox = queue.SimpleQueue[_Received]


@dataclass
class LineBuffer:
    """Assembler of complete lines from log chunks, per link and stream."""

    _partial: dict[tuple[int, int, int, int], str] = field(default_factory=dict)

    def add(self, chunk: LogChunk) -> Iterator[LogLine]:
        """Take a chunk; yield the lines that it completes."""
        for stream, _, text in chunk.frames:
            if is_gap(stream, text):
                yield from self.flush()
            key = (chunk.attempt, chunk.origin, chunk.link, stream)
            *lines, rest = (self._partial.pop(key, "") + text).split("\n")
            for line in lines:
                yield LogLine(chunk.link, stream, line)
            if rest and stream == 0:
                yield LogLine(chunk.link, stream, rest)
            elif rest:
                self._partial[key] = rest

    def flush(self) -> Iterator[LogLine]:
        """Yield the lines that have no newline yet."""
        for (_, _, link, stream), text in self._partial.items():
            yield LogLine(link, stream, text)
        self._partial.clear()


def follow(client: Client, task: Json) -> Iterator[Update]:
    """Yield updates until the task has ended and its log is read; the last update is the ended task.

    Raises ApiUnavailable when the API does not answer for a minute; the task itself goes on.
    """
    inbox: _Inbox = queue.SimpleQueue()
    threading.Thread(target=_read_events, args=(client, task["id"], inbox), daemon=True).start()
    threading.Thread(target=_read_log, args=(client, task["id"], inbox), daemon=True).start()
    lines, poller, log_open, ended_at = LineBuffer(), _TaskPoller(client, task), True, None
    yield TaskUpdate(task)
    while True:
        batch = _take_batch(inbox)
        for item in batch:
            if isinstance(item, LogChunk):
                yield from lines.add(item)
            elif isinstance(item, EventUpdate):
                yield item
            elif isinstance(item, FerrymanError):
                raise item
        log_open = log_open and _LOG_END not in batch
        if not batch or not log_open or any(isinstance(item, EventUpdate) for item in batch):
            yield TaskUpdate(poller.poll())
        if poller.task["state"] in ENDED:
            ended_at = ended_at or time.monotonic()
            if not log_open or time.monotonic() - ended_at > _LOG_SECONDS:
                yield from lines.flush()
                yield TaskUpdate(poller.task)
                return


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
    _answered_at: float = field(default_factory=time.monotonic)

    def poll(self) -> Json:
        try:
            self.task = self.client.task(self.task["id"])
            self._answered_at = time.monotonic()
        except (ApiUnavailable, ApiError) as exc:
            is_away = isinstance(exc, ApiUnavailable) or exc.status == 503
            if not is_away or time.monotonic() - self._answered_at > _PATIENCE_SECONDS:
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
        for chunk in client.log(id):
            inbox.put(chunk)
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
