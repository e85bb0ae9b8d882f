"""Clients that keep a server busy: each kind opens many connections and holds them in one state."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.model.records import LogPosition
from engine.store import logs
from engine.store.database import Database
from tests.support.task_rows import running

_HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
#: Request for an answer of many kilobytes.
_LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PUT = b"PUT /tasks/x/cancel HTTP/1.1\r\nHost: localhost\r\n"
_POST = b"POST /task HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n"
_TRICKLE_SECONDS = 0.5
#: Window of a client that does not read; the kernel doubles it.
_SMALL_WINDOW = 2048


@dataclass(frozen=True)
class Kind:
    """Kind of client: the bytes that it sends at once, and the byte that it sends every half second."""

    #: `{task}` stands for the id of a task with a long log.
    first: bytes
    trickle: bytes = b""
    #: The client reads slowly: nothing, after the kernel's smallest window is full.
    reads: bool = True


#: A small text that takes a tenth of a second to check: a suggestion is looked for each field.
_UNKNOWN_FIELDS = b"".join(b"timeou%05d: 1\n" % number for number in range(4800))

KINDS = {
    "connections without a request": Kind(b""),
    "heads that do not end": Kind(_HEAD),
    "heads that trickle": Kind(_HEAD, b"x"),
    "closed connections left open": Kind(_HEAD + b"Connection: close\r\n\r\n"),
    "refused bodies left open": Kind(_POST + b"Content-Length: 900000\r\nOrigin: http://evil.example\r\n\r\nname"),
    "malformed requests left open": Kind(b"no HTTP\r\n\r\n"),
    "bodies that stop": Kind(_POST + b"Content-Length: 100000\r\n\r\nname"),
    "bodies that trickle": Kind(_POST + b"Content-Length: 100000\r\n\r\nname", b"x"),
    "chunks that trickle": Kind(_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "unread bodies that trickle": Kind(_PUT + b"Content-Length: 90000\r\n\r\n", b"x"),
    "texts that are costly to check": Kind(
        _POST + b"Content-Length: %d\r\n\r\n" % len(_UNKNOWN_FIELDS) + _UNKNOWN_FIELDS
    ),
    "readers that do not read": Kind(
        b"GET /tasks/{task}/log HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n", reads=False
    ),
    "requests in a row that are not read": Kind(_LARGE * 50, reads=False),
    "streams": Kind(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "streams of a log that are not read": Kind(
        b"GET /tasks/{task}/log?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n", reads=False
    ),
}  # fmt: skip


@contextlib.contextmanager
def holding(kind: Kind, port: int, count: int, task: str = "") -> Iterator[list[socket.socket]]:
    """Open `count` connections of this kind and hold them."""
    connections: list[socket.socket] = []
    done = threading.Event()
    trickling = threading.Thread(target=_trickle, args=(kind.trickle, connections, done), daemon=True)
    try:
        for _ in range(count):
            connections.append(_open(kind, port, task))
        if kind.trickle:
            trickling.start()
        yield connections
    finally:
        done.set()
        if kind.trickle:
            trickling.join(10)
        for connection in connections:
            connection.close()


def _open(kind: Kind, port: int, task: str) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(60)
    if not kind.reads:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        connection.send(kind.first.replace(b"{task}", task.encode()))
    return connection


def _trickle(piece: bytes, connections: list[socket.socket], done: threading.Event) -> None:
    while not done.wait(_TRICKLE_SECONDS):
        for connection in connections:
            with contextlib.suppress(OSError):  # the server has cut this one
                connection.send(piece)


def long_log(db: Database) -> str:
    """Store a running task with a log of 8 MB, more than the kernel buffers for a client; return its id."""
    task = running(db)
    line = (1, "2026-01-01T00:00:00.000000000Z", "x" * 1000 + "\n")
    with db.begin() as c:
        for number in range(8):
            piece = logs.piece([line] * 1000)
            stored = logs.append(
                c, task.token, task.origin, 0, [piece], LogPosition(), logs.Bounds(64 << 20, 1000), number
            )
            assert stored == number + 1
    return task.id


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call took."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


def is_cut(connection: socket.socket) -> bool:
    """Return whether the server has closed the connection; what it sent before is dropped."""
    try:
        return connection.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
