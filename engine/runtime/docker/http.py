"""One request on a socket of its own, whose answer is read as it comes: logs, waits, pulls.

The docker library reads header and body of each log line apart (19 s of CPU for 100 MB) and cannot be
interrupted; here bytes come as the daemon sends them, and another thread may end it at any time.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from urllib.parse import urlsplit

from engine.errors import RuntimeUnavailable

CHUNK_BYTES = 1 << 18
#: A head is a few hundred bytes; more than this is no daemon.
MOST_HEAD_BYTES = 1 << 16


class Broken(RuntimeUnavailable):
    """The connection ended or failed before the answer was complete: the daemon may have restarted."""


class Exchange:
    """A request that was sent. Closed by `with`; `interrupt` may be called by any thread."""

    def __init__(self, connection: socket.socket, request: bytes, timeout: float) -> None:
        self._socket = connection
        self._timeout = timeout
        self._pending = b""
        self.status = 0
        connection.settimeout(timeout)
        try:
            connection.sendall(request)
        except OSError as exc:
            connection.close()
            raise Broken(f"Docker took no request: {exc}") from exc

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def interrupt(self) -> None:
        """Make a thread that reads return at once, as at the end."""
        # Already closed by the reader, or never connected: then there is nothing to interrupt.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def head(self, seconds: float) -> bool:
        """Read the status line and headers for up to `seconds`; True when they are there (`status` is set)."""
        if self.status:
            return True
        deadline = time.monotonic() + seconds
        while b"\r\n\r\n" not in self._pending:
            piece = self._receive(max(0.001, deadline - time.monotonic()))
            if piece == b"":
                raise Broken("Docker ended the connection before it answered")
            if piece is None:
                return False
            self._pending += piece
            # The first piece may hold much of the body too.
            if (
                b"\r\n\r\n" not in self._pending[: MOST_HEAD_BYTES + 4]
                and len(self._pending) > MOST_HEAD_BYTES
            ):
                raise Broken("what answers at Docker's address does not speak HTTP")
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        try:
            self.status = int(head.split(b" ", 2)[1])
        except (IndexError, ValueError):
            raise Broken("what answers at Docker's address does not speak HTTP") from None
        return True

    def read(self, seconds: float | None) -> bytes | None:
        """The next bytes of the body; None when none came for `seconds`, b"" at its end. None: wait on."""
        if self._pending:
            piece, self._pending = self._pending, b""
            return piece
        return self._receive(seconds)

    def pieces(self) -> Iterator[bytes]:
        """The body to its end, each piece within the daemon's time-out. Raises Broken."""
        while (piece := self.read(self._timeout)) != b"":
            if piece is None:
                raise Broken("Docker began an answer and did not end it")
            yield piece

    def rest(self, most_bytes: int = 1 << 20) -> bytes:
        """The body to its end, at most about `most_bytes`."""
        found = b""
        for piece in self.pieces():
            found += piece
            if len(found) >= most_bytes:
                break
        return found

    def words(self) -> str:
        """The daemon's message of an answer that is an error."""
        text = self.rest().decode("utf-8", "replace")
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

    HTTP/1.0, so that the body comes without chunk marks and ends with the connection. Raises RuntimeUnavailable.
    """
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{line[0]} {line[1]} HTTP/1.0\r\nHost: docker\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    connection = _reach(address, tls, timeout)
    return Exchange(connection, request.encode("ascii") + body, timeout)


class Tether:
    """A connection that is kept open, to see when the process at its other end is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        connection.settimeout(0)

    def is_cut(self) -> bool:
        """Whether the other end closed it. Asks nobody: that takes a microsecond."""
        try:
            # What the daemon said is read away.
            while self._socket.recv(CHUNK_BYTES):
                continue
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


def open_tether(address: str, tls: ssl.SSLContext | None, path: str, timeout: float) -> Tether:
    """Connect as `open_exchange` does, and keep the connection. Raises RuntimeUnavailable."""
    connection = _reach(address, tls, timeout)
    try:
        # A connection on which nothing was ever asked is closed sooner by newer daemons.
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n".encode("ascii"))
    except OSError as exc:
        connection.close()
        raise Broken(f"Docker took no request: {exc}") from exc
    return Tether(connection)


def _reach(address: str, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    """A connection to the daemon. Raises RuntimeUnavailable."""
    try:
        return _connect(address, tls, timeout)
    except OSError as exc:
        raise RuntimeUnavailable(f"Docker does not answer at {address}: {exc}") from exc


def _connect(address: str, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    if address.startswith("http+unix://"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect("/" + address.removeprefix("http+unix://").lstrip("/"))
        except OSError:
            connection.close()
            raise
        return connection
    place = urlsplit(address)
    host, port = place.hostname or "127.0.0.1", place.port or 2375
    connection = socket.create_connection((host, port), timeout=timeout)
    # A host that vanished would leave a wait hanging for ever otherwise.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return tls.wrap_socket(connection, server_hostname=host) if tls else connection
