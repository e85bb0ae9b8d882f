"""Watching one task to its end: states, links and log lines in the order in which they come.

Two streams feed one queue; what they say only tells when to look, the picture is always the task as the API
shows it. Standard library only, so that the demo can follow before anything is installed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.client import ApiError, ApiUnavailable, Client, Json, LogChunk
from engine.errors import FerrymanError
from engine.model.log_gap import is_gap

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "SKIPPED")
#: After the end its log may still be on its way for so long.
_LOG_SECONDS = 10.0
#: Without a word from a stream the task is looked at again.
_LOOK_SECONDS = 2.0
#: An API that is away for longer is taken to be gone.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Seen:
    """The task as it is now."""

    task: Json


@dataclass(frozen=True)
class Line:
    """A whole line of a link's output, or a note of Ferryman's (stream 0), without its newline."""

    link: int
    stream: int
    text: str


@dataclass(frozen=True)
class Happened:
    """An event of the task: kind, from, to, node, reason."""

    event: Json


Update = Seen | Line | Happened


@dataclass
class _Lines:
    """Whole lines out of raw pieces, per link and stream."""

    _begun: dict[tuple[int, int, int, int], str] = field(default_factory=dict)

    def add(self, piece: LogChunk) -> Iterator[Line]:
        for stream, _, text in piece.frames:
            if is_gap(stream, text):
                yield from self.rest()
            key = (piece.attempt, piece.origin, piece.link, stream)
            *whole, rest = (self._begun.pop(key, "") + text).split("\n")
            for line in whole:
                yield Line(piece.link, stream, line)
            if rest and stream == 0:
                yield Line(piece.link, stream, rest)
            elif rest:
                self._begun[key] = rest

    def rest(self) -> Iterator[Line]:
        for (_, _, link, stream), text in self._begun.items():
            yield Line(link, stream, text)
        self._begun.clear()


def follow(client: Client, task: Json) -> Iterator[Update]:
    """Updates until the task has ended and its log is read; the last is the task as it ended.

    Raises ApiUnavailable when the API is away for a minute; the task itself goes on.
    """
    heard: queue.SimpleQueue[Happened | LogChunk | FerrymanError | str] = queue.SimpleQueue()
    threading.Thread(target=_events, args=(client, task["id"], heard), daemon=True).start()
    threading.Thread(target=_log, args=(client, task["id"], heard), daemon=True).start()
    lines, look, log_open, ended_at = _Lines(), _Look(client, task), True, None
    yield Seen(task)
    while True:
        batch = _batch(heard)
        for thing in batch:
            yield from _shown(thing, lines)
        log_open = log_open and "log" not in batch
        if not batch or not log_open or any(isinstance(thing, Happened) for thing in batch):
            yield Seen(look.again())
        if look.task["state"] in ENDED:
            ended_at = ended_at or time.monotonic()
            if not log_open or time.monotonic() - ended_at > _LOG_SECONDS:
                yield from lines.rest()
                yield Seen(look.task)
                return


def _shown(thing: object, lines: _Lines) -> Iterator[Update]:
    if isinstance(thing, LogChunk):
        yield from lines.add(thing)
    elif isinstance(thing, Happened):
        yield thing
    elif isinstance(thing, FerrymanError):
        raise thing


@dataclass
class _Look:
    """The task as it was last seen. An API that is away for a moment (a restart) is no end of the watching."""

    client: Client
    task: Json
    _seen_at: float = field(default_factory=time.monotonic)

    def again(self) -> Json:
        try:
            self.task = self.client.task(self.task["id"])
            self._seen_at = time.monotonic()
        except (ApiUnavailable, ApiError) as exc:
            is_away = isinstance(exc, ApiUnavailable) or exc.status == 503
            if not is_away or time.monotonic() - self._seen_at > _PATIENCE_SECONDS:
                raise
        return self.task


def _batch(heard: queue.SimpleQueue[Happened | LogChunk | FerrymanError | str]) -> list[object]:
    """What came, one thing at least or nothing within the time."""
    found: list[object] = []
    try:
        found.append(heard.get(timeout=_LOOK_SECONDS))
        while len(found) < 500:
            found.append(heard.get_nowait())
    except queue.Empty:
        return found
    return found


def _events(client: Client, id: str, heard: queue.SimpleQueue[object]) -> None:
    try:
        for event in client.events(task=id):
            heard.put(Happened(event))
        heard.put("events")
    except FerrymanError as exc:
        heard.put(exc)


def _log(client: Client, id: str, heard: queue.SimpleQueue[object]) -> None:
    try:
        for piece in client.log(id):
            heard.put(piece)
    except ApiError as exc:
        if exc.status != 404:
            heard.put(exc)
    except FerrymanError as exc:
        heard.put(exc)
    heard.put("log")


def links(task: Json) -> list[Json]:
    """The links of the present run, in order; before the first claim, those that the task asks for."""
    if task.get("links"):
        return list(task["links"])
    asked = (
        [("pre", p) for p in task.get("pre") or ()]
        + [("main", task)]
        + [("post", p) for p in task.get("post") or ()]
    )
    return [
        {
            "index": i,
            "kind": kind,
            "name": None if kind == "main" else s.get("name"),
            "image": s.get("image"),
            "state": "WAITING",
        }
        for i, (kind, s) in enumerate(asked)
    ]


def failed_link(task: Json) -> Json | None:
    """The link that a failed task failed at, None when none did (a time-out before the first, a crash)."""
    bad = [link for link in links(task) if link.get("exitCode") or link.get("error")]
    return bad[0] if bad else None
