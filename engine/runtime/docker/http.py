"""HTTP requests to Docker, each on its own socket, with answers read as they arrive: logs, waits, pulls.

The docker library reads header and body of each log line separately (19 s of CPU time for 100 MB) and cannot be
interrupted. Here bytes are passed on as the daemon sends them, and any thread may end an exchange.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from engine.errors import RuntimeUnavailable

CHUNK_BYTES = 1 << 18
#: A head has a few hundred bytes; a server that sends more than this is not a Docker daemon.
MOST_HEAD_BYTES = 1 << 16
_HEAD_END = b"\r\n\r\n"


class Broken(RuntimeUnavailable):
    """The connection ended or failed before the answer was complete: the daemon may have restarted."""


class Exchange:
    """A request that was sent, and its answer. A context manager; any thread may call `interrupt`."""

    def __init__(self, connection: socket.socket, request: bytes, timeout: float) -> None:
        self._socket = connection
        self._timeout = timeout
        self._pending = b""
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
        return True

    def read(self, seconds: float | None) -> bytes | None:
        """Return the next bytes of the body, b"" at its end, None when none came within `seconds` (None: wait)."""
        if self._pending:
            piece, self._pending = self._pending, b""
            return piece
        return self._receive(seconds)

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
    line: tuple[str, str],
    headers: Mapping[str, str],
    timeout: float,
    body: bytes = b"",
) -> Exchange:
    """Connect to `address` (`http+unix:///path`, `http://host:port`) and send `line` (method, path).

    The request is HTTP/1.0: the body comes without chunk marks and ends with the connection. Raises
    RuntimeUnavailable.
    """
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{line[0]} {line[1]} HTTP/1.0\r\nHost: docker\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
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
