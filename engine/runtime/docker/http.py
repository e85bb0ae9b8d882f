"""HTTP requests to Docker, each on its own socket, with answers read as they arrive: logs, waits, pulls.

The docker library reads header and body of each log line separately (19 s of CPU time for 100 MB) and cannot be
interrupted. Here bytes are passed on as the daemon sends them, and any thread may end an exchange.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from engine.errors import ErrorAnswer, RuntimeUnavailable

CHUNK_BYTES = 1 << 18
#: A head has a few hundred bytes; a server that sends more than this is not a Docker daemon.
MOST_HEAD_BYTES = 1 << 16
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
#: Docker's chunks have up to 32 KiB; a mark that claims more than this is not one.
_MOST_CHUNK_BYTES = 1 << 25
#: Answers that will not change: the container is gone, is being removed, or has a log that Docker cannot read.
_FINAL = (404, 409, 501)
#: Waits before a question without effects is asked again, after an error answer or one that was cut short.
RETRY_SECONDS = (0.1, 0.4, 1.5)


class Broken(RuntimeUnavailable):
    """The connection ended or failed before the answer was complete: the daemon may have restarted."""


class _Body:
    """Body of an answer: the bytes without chunk marks, and whether they are all there."""

    def __init__(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else None
        self._is_chunked = _CHUNKED.search(head) is not None
        self._rest = b""
        #: True when all of a body whose end is marked was taken.
        self.has_ended = self._left == 0

    @property
    def is_cut(self) -> bool:
        """Return True if the connection may not end here."""
        return not self.has_ended and (self._is_chunked or self._left is not None)

    def take(self, piece: bytes) -> bytes:
        """Return the bytes of the body in a piece of the answer. Raises Broken."""
        if self._is_chunked:
            return self._take_chunks(self._rest + piece)
        if self._left is not None:
            self._left -= len(piece)
            self.has_ended = self._left <= 0
        return piece

    def _take_chunks(self, data: bytes) -> bytes:
        chunks, start = [], 0
        while (end := data.find(b"\r\n", start)) >= 0:
            try:
                size = int(data[start:end].partition(b";")[0], 16)
            except ValueError:
                size = _MOST_CHUNK_BYTES + 1
            if size > _MOST_CHUNK_BYTES:
                raise Broken("the server at Docker's address does not speak HTTP")
            if size == 0:
                self.has_ended = True
                break
            if len(data) < end + size + 4:
                break
            chunks.append(data[end + 2 : end + 2 + size])
            start = end + size + 4
        self._rest = data[start:]
        return b"".join(chunks)


class Exchange:
    """A request that was sent, and its answer. A context manager; any thread may call `interrupt`."""

    def __init__(self, connection: socket.socket, request: bytes, timeout: float) -> None:
        self._socket = connection
        self._timeout = timeout
        self._pending = b""
        self._body = _Body(b"")
        self._head = b""
        #: The status code; 0 until `read_head` returns True.
        self.status = 0
        connection.settimeout(timeout)
        try:
            connection.sendall(request)
        except OSError as exc:
            connection.close()
            raise Broken(f"Docker did not take the request: {exc}") from exc

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def interrupt(self) -> None:
        """Make a reading thread return at once, as at the end of the answer."""
        # A socket that the reader has closed, or that was never connected, has no reader to interrupt.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def read_head(self, seconds: float) -> bool:
        """Wait for the status line and the headers for up to `seconds`; return True when they are read."""
        if self.status:
            return True
        deadline = time.monotonic() + seconds
        while _HEAD_END not in self._pending:
            piece = self._receive(max(0.001, deadline - time.monotonic()))
            if piece == b"":
                raise Broken("Docker closed the connection before it answered")
            if piece is None:
                return False
            self._pending += piece
            # The first piece may also contain much of the body.
            if len(self._pending) > MOST_HEAD_BYTES and _HEAD_END not in self._pending[: MOST_HEAD_BYTES + 4]:
                raise Broken("the server at Docker's address does not speak HTTP")
        head, _, self._pending = self._pending.partition(_HEAD_END)
        try:
            self.status = int(head.split(b" ", 2)[1])
        except (IndexError, ValueError):
            raise Broken("the server at Docker's address does not speak HTTP") from None
        self._body, self._head = _Body(head), head
        return True

    def header(self, name: str) -> str:
        """Return the value of a header of the answer, "" without it."""
        match = re.search(rb"\r\n%s: *([^\r]*)" % re.escape(name.encode()), self._head, re.IGNORECASE)
        return "" if match is None else match[1].decode("latin-1")

    def raise_if_failed(self) -> None:
        """Raise ErrorAnswer if the daemon could not answer now, which says nothing about the container."""
        if self.status >= 400 and self.status not in _FINAL:
            raise ErrorAnswer(f"Docker answered with status {self.status}: {self.error_message()}")

    def read(self, seconds: float | None) -> bytes | None:
        """Return the next bytes of the body, b"" at its end, None when none came within `seconds` (None: wait).

        Raises Broken, also when the answer ends before the end that its head or its chunks mark.
        """
        while not self._body.has_ended:
            piece: bytes | None = self._pending
            self._pending = b""
            if not piece and not (piece := self._receive(seconds)):
                if piece == b"" and self._body.is_cut:
                    raise Broken("Docker's answer was cut short")
                return piece
            if data := self._body.take(piece):
                return data
        return b""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body to its end, each piece within the daemon's time-out. Raises Broken."""
        while (piece := self.read(self._timeout)) != b"":
            if piece is None:
                raise Broken("Docker began an answer and did not finish it")
            yield piece

    def read_all(self, most_bytes: int = 1 << 20) -> bytes:
        """Return the body to its end, or the first `most_bytes` and the rest of a piece."""
        body = b""
        for piece in self.pieces():
            body += piece
            if len(body) >= most_bytes:
                break
        return body

    def error_message(self) -> str:
        """Return the daemon's message from an answer that is an error."""
        text = self.read_all().decode("utf-8", "replace")
        try:
            return str(json.loads(text)["message"])
        except (ValueError, KeyError, TypeError):
            return text.strip() or f"status {self.status}"

    def _receive(self, seconds: float | None) -> bytes | None:
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(CHUNK_BYTES)
        except TimeoutError:
            return None
        except OSError as exc:
            raise Broken(f"the connection to Docker broke: {exc}") from exc


def open_exchange(
    address: str,
    tls: ssl.SSLContext | None,
    line: tuple[str, str, str],
    headers: Mapping[str, str],
    timeout: float,
    body: bytes = b"",
) -> Exchange:
    """Connect to `address` (`http+unix:///path`, `http://host:port`) and send `line` (method, path, version).

    In HTTP/1.0 a long body comes without chunk marks and ends with the connection, so an answer that was cut short
    looks complete. In HTTP/1.1 the cut is noticed (Broken), but each chunk costs time. Raises RuntimeUnavailable.
    """
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    first = f"{' '.join(line)}\r\nHost: docker\r\nConnection: close"
    request = f"{first}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    connection = _connect(address, tls, timeout)
    return Exchange(connection, request.encode("ascii") + body, timeout)


class RestartDetector:
    """A connection that is kept open, because it ends when the daemon does."""

    def __init__(self, address: str, tls: ssl.SSLContext | None, path: str, timeout: float) -> None:
        """Connect as `open_exchange` does. Raises RuntimeUnavailable."""
        self._socket = _connect(address, tls, timeout)
        try:
            # Newer daemons close a connection sooner if it never carried a request.
            self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n".encode("ascii"))
        except OSError as exc:
            self._socket.close()
            raise Broken(f"Docker did not take the request: {exc}") from exc
        self._socket.settimeout(0)

    def has_restarted(self) -> bool:
        """Return True if the daemon closed the connection. Sends nothing, so the call takes a microsecond."""
        try:
            # Read the answer away.
            while self._socket.recv(CHUNK_BYTES):
                continue
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _connect(address: str, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    try:
        if address.startswith("http+unix://"):
            return _connect_unix("/" + address.removeprefix("http+unix://").lstrip("/"), timeout)
        return _connect_tcp(address, tls, timeout)
    except OSError as exc:
        raise RuntimeUnavailable(f"Docker does not answer at {address}: {exc}") from exc


def _connect_unix(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _connect_tcp(address: str, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    url = urlsplit(address)
    host, port = url.hostname or "127.0.0.1", url.port or 2375
    connection = socket.create_connection((host, port), timeout=timeout)
    # Without keep-alive a wait would hang for ever if the host vanished.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return tls.wrap_socket(connection, server_hostname=host) if tls else connection
