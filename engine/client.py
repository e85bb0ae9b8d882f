"""Typed client of the REST API: standard library only, every call bounded in time.

The command line and the demo use nothing else to speak to a server. A stream survives a broken connection:
it reconnects, and resumes after the last message that it received.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from engine.errors import FerrymanError

Json = dict[str, Any]

#: The API sends a comment every 15 s, so a stream that is silent for longer is dead.
_SILENCE_SECONDS = 40.0
#: Longest line of a stream.
_LINE_BYTES = 1 << 24
_CLOSED = ("attempt", "origin", "links", "delivery")
_YAML, _JSON, _SSE = "application/yaml", "application/json", "text/event-stream"


class ApiUnavailable(FerrymanError):
    """Error for an address at which no API answers; the message says what to set or start."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no API answers at {url} ({reason}): start one with `ferryman standalone`; or join one that runs, with "
            "the line `export FERRYMAN_DATA_DIR=…` of its banner, or with FERRYMAN_API_URL set to its address"
        )


class ApiError(FerrymanError):
    """Error answer of the API; `status` is the HTTP status, `problem` the application/problem+json."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.problem = problem
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))

    @property
    def errors(self) -> list[Json]:
        """Single problems with path, line, column, message and hint; [] when the detail says it all."""
        errors = self.problem.get("errors")
        return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


@dataclass(frozen=True)
class ServerSentEvent:
    """Message of a stream, with the id after which a client resumes."""

    event: str
    id: str
    data: Json


@dataclass(frozen=True)
class LogChunk:
    """Raw output of a link, in order. A line ends with a newline and may span several frames."""

    seq: str
    attempt: int
    origin: int
    #: The link's index in the chain.
    link: int
    #: Number of the first line that begins in this chunk, counted from 1 over the task's log.
    first_line: int
    #: (stream, stamp, text); stream 1: standard output, 2: standard error, 0: a note from Ferryman.
    frames: tuple[tuple[int, str, str], ...] = field(default=())


@dataclass(frozen=True)
class LogPart:
    """Part of a log: the whole, the last lines, or the output of an attempt or link only."""

    #: Number of lines of the end; None: from the beginning.
    tail: int | None = None
    #: Number of the attempt, from 1.
    attempt: int | None = None
    #: Index of the link in the chain, from 0.
    link: int | None = None


@dataclass(frozen=True, order=True)
class LinksClosed:
    """Point in a followed log: all output of the first `links` links of this run, and of older runs, has been sent."""

    attempt: int = 0
    origin: int = 0
    links: int = 0
    #: Delivery of the task at that moment: older deliveries write nothing more.
    delivery: int = field(default=0, compare=False)


class Client:
    """Client of one API. Threads may share it: each call opens its own connection.

    Every method raises ApiUnavailable when nothing answers within `timeout_seconds`, and ApiError for an error
    answer (401: the API admits neither this account nor the token; 404: no such id; 409: the id matches several;
    422: the task is invalid …).
    """

    def __init__(self, url: str, timeout_seconds: float = 30.0, token: str = "") -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            raise ApiUnavailable(url, "the port is not a number from 0 to 65535") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ApiUnavailable(url, "not an HTTP address")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._base = parts.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._access = {"Authorization": f"Bearer {token}"} if token else {}

    def health(self) -> Json:
        """Return status and version of the API."""
        return self._json("GET", "/health")

    def submit(self, body: bytes, media: str = _YAML) -> Json:
        """Submit a task; return it as stored, with `id` and `jobId`. From then on it is promised to end."""
        return self._json("POST", "/task", body=body, media=media, status=201)

    def task(self, id: str) -> Json:
        """Return a task by its id or its job's; either may be shortened while unique."""
        return self._json("GET", f"/tasks/{quote(id, safe='')}")

    def job(self, id: str) -> Json:
        """Return a job with its tasks."""
        return self._json("GET", f"/jobs/{quote(id, safe='')}")

    def jobs(self, page: int = 1, size: int = 20, q: str = "", state: str = "") -> Json:
        """Return a page of jobs, newest first: `items`, `number`, `size`, `totalPages`, `totalItems`."""
        query = {"page": page, "size": size, "q": q, "state": state}
        return self._json("GET", "/jobs", query={name: value for name, value in query.items() if value != ""})

    def cancel(self, id: str) -> Json:
        """Cancel a task by its id or its job's. Raises ApiError 409 when it ended in another state."""
        return self._json("PUT", f"/tasks/{quote(id, safe='')}/cancel")

    def nodes(self) -> list[Json]:
        """Return the nodes: id, name, state, queues, slots, daemon."""
        return _items(self._any("GET", "/nodes"))

    def node(self, node: str) -> Json:
        """Return a node by id, name or the beginning of either, with `running` (a count) and at most 100 `tasks`."""
        return self._json("GET", f"/nodes/{quote(node, safe='')}")

    def drain(self, node: str) -> Json:
        """Drain a node by id, name or the beginning of either; return the node after that. ApiError 404, 409."""
        return self._json("PUT", f"/nodes/{quote(node, safe='')}/drain")

    def queues(self) -> list[Json]:
        """Return the queues: name, waiting, running, subscribers (live nodes that serve it)."""
        return _items(self._any("GET", "/queues"))

    def log_text(self, id: str, part: LogPart = LogPart(), *, timestamps: bool = False) -> Iterator[bytes]:
        """Yield the log as it was written, in parts as they arrive."""
        query = vars(part) | {"timestamps": 1 if timestamps else None}
        path = self._path(f"/tasks/{quote(id, safe='')}/log", _without_none(query))
        with self._request("GET", path, {"Accept": "text/plain"}) as response:
            while data := response.read1(1 << 16):
                yield data

    def log(
        self, id: str, part: LogPart = LogPart(), *, patience_seconds: float = 60.0
    ) -> Iterator[LogChunk]:
        """Yield the log as it is written, until the task has ended."""
        for item in self.log_and_ends(id, part, patience_seconds=patience_seconds):
            if isinstance(item, LogChunk):
                yield item

    def log_and_ends(
        self, id: str, part: LogPart = LogPart(), *, patience_seconds: float = 60.0
    ) -> Iterator[LogChunk | LinksClosed]:
        """Yield the log as `log` does, and after the last output of each link that the link has ended."""
        path = f"/tasks/{quote(id, safe='')}/log"
        query = {"follow": "true"} | _without_none(vars(part))
        for message in self._stream(path, query, patience_seconds):
            if message.event == "log":
                yield _log_chunk(message)
            elif message.event == "closed":
                yield LinksClosed(*(int(message.data.get(name, 0)) for name in _CLOSED))

    def events(
        self, *, task: str = "", job: str = "", patience_seconds: float = 60.0, after: str = ""
    ) -> Iterator[Json]:
        """Yield the events of a task or job, from the first to its end; without either, all events from now on."""
        query = {name: id for name, id in (("task", task), ("job", job)) if id}
        for message in self._stream("/events", query, patience_seconds, after):
            if message.event == "event":
                yield message.data

    def _stream(
        self, path: str, query: Json, patience_seconds: float, last: str = ""
    ) -> Iterator[ServerSentEvent]:
        """Yield messages until `end`. After a break, reconnect for `patience_seconds`, and resume after `last`."""
        last_heard, pause = time.monotonic(), 0.1
        while True:
            try:
                for message in self._messages(self._path(path, query), last):
                    last_heard, pause = time.monotonic(), 0.1
                    # After a reset the server's numbers begin again.
                    last = "" if message.event == "reset" else message.id or last
                    if message.event == "end":
                        return
                    yield message
            except ApiUnavailable:
                if time.monotonic() - last_heard > patience_seconds:
                    raise
            except ApiError as exc:
                # 503: all streams are in use, or the database does not answer for a moment.
                if exc.status != 503 or time.monotonic() - last_heard > patience_seconds:
                    raise
                pause = max(pause, float(exc.problem.get("retryAfter") or 1.0))
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _messages(self, path: str, last: str) -> Iterator[ServerSentEvent]:
        headers = {"Accept": _SSE} | ({"Last-Event-ID": last} if last else {})
        with self._request("GET", path, headers, timeout_seconds=_SILENCE_SECONDS) as response:
            event, id, data = "message", "", ""
            while raw := response.readline(_LINE_BYTES):
                if not raw.endswith(b"\n"):
                    return
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line == "":
                    if data:
                        yield ServerSentEvent(event, id, _object(data))
                    event, data = "message", ""
                elif name == "event":
                    event = value
                elif name == "id":
                    id = value
                elif name == "data":
                    data = f"{data}\n{value}" if data else value

    def _json(self, method: str, path: str, **options: Any) -> Json:
        answer = self._any(method, path, **options)
        return answer if isinstance(answer, dict) else {"items": answer}

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
        with self._request(method, self._path(path, query or {}), headers, body) as response:
            answer = _value(response.read())
            if response.status != status or answer is None:
                raise ApiUnavailable(self.url, f"HTTP {response.status} from a server that is not Ferryman")
        return answer

    def _path(self, path: str, query: Json) -> str:
        return self._base + path + (f"?{urlencode(query)}" if query else "")

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and yield the response. Every error of the network becomes ApiUnavailable."""
        connect = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = connect(self._host, self._port, timeout=timeout_seconds or self._timeout_seconds)
        try:
            connection.request(method, path, body, headers | self._access)
            response = connection.getresponse()
            if 300 <= response.status < 400:
                raise ApiUnavailable(self.url, f"HTTP {response.status} from a server that is not Ferryman")
            if response.status >= 400:
                raise ApiError(response.status, _problem(response))
            yield response
        except (OSError, http.client.HTTPException) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise ApiUnavailable(self.url, reason.lower()) from exc
        finally:
            connection.close()


def _without_none(query: Json) -> Json:
    return {name: value for name, value in query.items() if value is not None}


def _problem(response: http.client.HTTPResponse) -> Json:
    problem = _object(response.read(1 << 20)) or {"title": f"HTTP {response.status} {response.reason}"}
    if (seconds := response.headers.get("Retry-After", "")).isdigit():
        problem["retryAfter"] = int(seconds)
    return problem


def _value(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _object(text: bytes | str) -> Json:
    value = _value(text)
    return value if isinstance(value, dict) else {}


def _items(answer: Any) -> list[Json]:
    items = answer.get("items", []) if isinstance(answer, dict) else answer
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _log_chunk(message: ServerSentEvent) -> LogChunk:
    data = message.data
    frames = tuple((int(s), str(stamp), str(text)) for s, stamp, text in data.get("frames", ()))
    return LogChunk(
        seq=message.id or str(data.get("seq", "")),
        attempt=int(data.get("attempt", 1)),
        origin=int(data.get("origin", 0)),
        link=int(data.get("link", 0)),
        first_line=int(data.get("firstLine", 1)),
        frames=frames,
    )
