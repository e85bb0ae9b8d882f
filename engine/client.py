"""The REST API as a typed client: standard library only, every call bounded in time.

The command line and the demo speak to a server through this alone. A stream survives a cut connection: it
asks again from the last thing that it saw.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from engine.errors import FerrymanError

Json = dict[str, Any]

#: The API sends a comment each 15 s: a stream that is silent for longer is dead.
_SILENCE_SECONDS = 40.0
#: More in one line of a stream is no answer of ours.
_LINE_BYTES = 1 << 24
_YAML, _JSON, _SSE = "application/yaml", "application/json", "text/event-stream"


class ApiUnavailable(FerrymanError):
    """No API answers at this address; the message says what to set or start."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no API answers at {url} ({reason}): start one with `ferryman standalone`, "
            "or set FERRYMAN_API_URL to where it is"
        )


class ApiError(FerrymanError):
    """The API refused; `problem` is its application/problem+json, `status` the HTTP status."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.problem = problem
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))

    @property
    def errors(self) -> list[Json]:
        """The single problems with path, line, column, message and hint; [] when there is but one sentence."""
        found = self.problem.get("errors")
        return [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []


@dataclass(frozen=True)
class Message:
    """One message of a stream: its name, the id to go on after, and its data."""

    event: str
    id: str
    data: Json


@dataclass(frozen=True)
class LogPiece:
    """Some raw output of one link, in order. A line ends with a newline and may span several frames."""

    seq: str
    attempt: int
    origin: int
    #: The link's index in the chain.
    link: int
    #: Number of the first line that begins in this piece, counted from 1 over the link.
    first_line: int
    #: (stream, stamp, text): 1 standard output, 2 standard error, 0 a note of Ferryman's.
    frames: tuple[tuple[int, str, str], ...] = field(default=())


class Client:
    """Calls one API. Safe to share between threads: each call has a connection of its own.

    Every method raises ApiUnavailable when nothing answers within `timeout_seconds`, and ApiError when the
    API refuses (404: no such thing; 409: an id that fits several; 422: a task with mistakes …).
    """

    def __init__(self, url: str, timeout_seconds: float = 30.0) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            raise ApiUnavailable(url, "the port is no number") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ApiUnavailable(url, "not an http address")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._base = parts.path.rstrip("/")
        self._timeout_seconds = timeout_seconds

    def health(self) -> Json:
        """Status and version of the API."""
        return self._json("GET", "/health")

    def submit(self, body: bytes, media: str = _YAML) -> Json:
        """Hand in a task; returns it as stored, with `id` and `jobId`. After that it will end, whatever dies."""
        return self._json("POST", "/task", body=body, media=media, status=201)

    def task(self, id: str) -> Json:
        """A task by its id or its job's; either may be shortened while unique."""
        return self._json("GET", f"/tasks/{quote(id, safe='')}")

    def job(self, id: str) -> Json:
        """A job with its tasks."""
        return self._json("GET", f"/jobs/{quote(id, safe='')}")

    def jobs(self, page: int = 1, size: int = 20, q: str = "", state: str = "") -> Json:
        """A page of jobs, newest first: `items`, `number`, `size`, `totalPages`, `totalItems`."""
        asked = {"page": page, "size": size, "q": q, "state": state}
        return self._json("GET", "/jobs", query={k: v for k, v in asked.items() if v != ""})

    def cancel(self, id: str) -> Json:
        """Cancel a task (by its id or its job's). ApiError 409 when it had already ended otherwise."""
        return self._json("PUT", f"/tasks/{quote(id, safe='')}/cancel")

    def nodes(self) -> list[Json]:
        """The workers: id, name, state, queues, slots, daemon."""
        return _items(self._any("GET", "/nodes"))

    def node(self, node: str) -> Json:
        """One worker by id, name or a beginning of either: with `running`, a count, and `tasks`, 100 at most."""
        return self._json("GET", f"/nodes/{quote(node, safe='')}")

    def drain(self, node: str) -> Json:
        """Drain a node by id, name or a beginning of either; the node after it. ApiError 404, 409."""
        return self._json("PUT", f"/nodes/{quote(node, safe='')}/drain")

    def queues(self) -> list[Json]:
        """The queues: name, waiting, running, subscribers (live nodes that serve it)."""
        return _items(self._any("GET", "/queues"))

    def log_text(self, id: str, tail: int | None = None, timestamps: bool = False) -> Iterator[bytes]:
        """The log as it was written, in pieces as they arrive; `tail` lines of its end, else all of it."""
        query = ({} if tail is None else {"tail": tail}) | ({"timestamps": 1} if timestamps else {})
        path = self._path(f"/tasks/{quote(id, safe='')}/log", query)
        with _Exchange(self, _Asked("GET", path, None, {"Accept": "text/plain"})) as answer:
            while piece := answer.read1(1 << 16):
                yield piece

    def log(self, id: str, patience_seconds: float = 60.0) -> Iterator[LogPiece]:
        """The log from its beginning until the task has ended, as it comes."""
        path = f"/tasks/{quote(id, safe='')}/log"
        for message in self._stream(path, {"follow": "true"}, patience_seconds):
            if message.event == "log":
                yield _log_piece(message)

    def events(
        self, *, task: str = "", job: str = "", patience_seconds: float = 60.0, after: str = ""
    ) -> Iterator[Json]:
        """What happened to a task or job, from the beginning until it has ended; of neither: from now on."""
        query = {k: v for k, v in (("task", task), ("job", job)) if v}
        for message in self._stream("/events", query, patience_seconds, after):
            if message.event == "event":
                yield message.data

    def _stream(self, path: str, query: Json, patience_seconds: float, last: str = "") -> Iterator[Message]:
        """Messages until `end`. A cut connection is asked again from the last id, for `patience_seconds`."""
        heard, pause = time.monotonic(), 0.1
        while True:
            try:
                for message in self._messages(self._path(path, query), last):
                    heard, pause = time.monotonic(), 0.1
                    last = message.id or last
                    if message.event == "end":
                        return
                    yield message
            except ApiUnavailable:
                if time.monotonic() - heard > patience_seconds:
                    raise
            except ApiError as exc:
                # 503: too many listeners, or a database that is away for a moment.
                if exc.status != 503 or time.monotonic() - heard > patience_seconds:
                    raise
                pause = max(pause, float(exc.problem.get("retryAfter") or 1.0))
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _messages(self, path: str, last: str) -> Iterator[Message]:
        headers = {"Accept": _SSE} | ({"Last-Event-ID": last} if last else {})
        with _Exchange(self, _Asked("GET", path, None, headers), _SILENCE_SECONDS) as answer:
            event, id, data = "message", "", ""
            while raw := answer.readline(_LINE_BYTES):
                if not raw.endswith(b"\n"):
                    return
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line == "":
                    if data:
                        yield Message(event, id, _object(data))
                    event, data = "message", ""
                elif name == "event":
                    event = value
                elif name == "id":
                    id = value
                elif name == "data":
                    data = f"{data}\n{value}" if data else value

    def _json(self, method: str, path: str, **asked: Any) -> Json:
        found = self._any(method, path, **asked)
        return found if isinstance(found, dict) else {"items": found}

    def _any(
        self,
        method: str,
        path: str,
        query: Json | None = None,
        *,
        body: bytes | None = None,
        media: str = _JSON,
        status: int = 200,
    ) -> Any:
        headers = {"Accept": _JSON} | ({} if body is None else {"Content-Type": media})
        with _Exchange(self, _Asked(method, self._path(path, query or {}), body, headers)) as answer:
            text = answer.read()
            found = _value(text)
            if answer.status != status or found is None:
                raise ApiUnavailable(self.url, f"what answers there, HTTP {answer.status}, is not Ferryman")
        return found

    def _path(self, path: str, query: Json) -> str:
        return self._base + path + (f"?{urlencode(query)}" if query else "")

    def _connect(self, timeout_seconds: float | None) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_seconds or self._timeout_seconds)


class _Asked(NamedTuple):
    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]


class _Exchange:
    """One request and its answer; an error of the wire or a refusal comes out as one of our two errors."""

    def __init__(self, client: Client, asked: _Asked, silence_seconds: float | None = None) -> None:
        self._client = client
        self._asked = asked
        self._connection = client._connect(silence_seconds)

    def __enter__(self) -> http.client.HTTPResponse:
        try:
            self._connection.request(*self._asked)
            answer = self._connection.getresponse()
            if answer.status >= 400:
                raise ApiError(answer.status, _problem(answer))
        except BaseException as exc:
            self.__exit__(type(exc), exc, None)
            raise
        return answer

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        self._connection.close()
        if isinstance(exc, (OSError, http.client.HTTPException)):
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise ApiUnavailable(self._client.url, reason.lower()) from exc


def _problem(answer: http.client.HTTPResponse) -> Json:
    problem = _object(answer.read(1 << 20)) or {"title": f"HTTP {answer.status} {answer.reason}"}
    if (wait := answer.headers.get("Retry-After", "")).isdigit():
        problem["retryAfter"] = int(wait)
    return problem


def _value(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _object(text: bytes | str) -> Json:
    found = _value(text)
    return found if isinstance(found, dict) else {}


def _items(found: Any) -> list[Json]:
    listed = found.get("items", []) if isinstance(found, dict) else found
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _log_piece(message: Message) -> LogPiece:
    data = message.data
    frames = tuple((int(s), str(stamp), str(text)) for s, stamp, text in data.get("frames", ()))
    return LogPiece(
        seq=message.id or str(data.get("seq", "")),
        attempt=int(data.get("attempt", 1)),
        origin=int(data.get("origin", 0)),
        link=int(data.get("link", 0)),
        first_line=int(data.get("firstLine", 1)),
        frames=frames,
    )
