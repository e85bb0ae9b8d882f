"""gunicorn's threaded worker with every connection bounded in time, bytes and threads.

gunicorn itself waits without end for the head of a request, for its body and for a reader of its answer, each in a
thread of the pool. It also waits 2 s in its main loop, which accepts all other connections, for each client that leaves
a closed connection open.
"""

from __future__ import annotations

import contextlib
import fcntl
import resource
import selectors
import socket
import struct
import sys
import termios
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from engine.errors import FerrymanError
from engine.settings import refuse_outside

#: Limit from the first byte of a request to the empty line after its headers.
HEAD_SECONDS = 10.0
#: Limit of the time for a whole body, for each MiB that a body may have.
BODY_SECONDS = 60.0
#: An answer is cut when its reader takes less than STALL_BYTES in STALL_SECONDS, while more waits for the reader.
STALL_SECONDS = 10.0
STALL_BYTES = 16 << 10
#: Longest time for which a closed connection waits for its client to close too, so that the client reads the answer
#: to its end; the most bytes that are dropped meanwhile; and the most such connections at the same time: beyond them
#: the oldest is closed.
LINGER_SECONDS = 2.0
LINGER_BYTES = 1 << 20
MOST_LINGERING = 256
#: The kernel gives a connection up when its client acknowledges nothing for this time.
_UNACKNOWLEDGED_SECONDS = 30
#: Memory of the kernel for the answer to a client that does not read; the kernel doubles it.
_SEND_BUFFER_BYTES = 256 << 10
_OPEN_FILES = 8192
_SWITCH_SECONDS = 0.0005
#: Each turn of the main loop waits for the interpreter, so few turns accept many connections.
_ACCEPTED_AT_ONCE = 64
_CHECK_SECONDS = 1.0
#: Place of tcpi_bytes_acked in Linux's struct tcp_info.
_ACKNOWLEDGED = struct.Struct("120xQ")


@dataclass
class Exchange:
    """Request that a thread of the pool reads or answers, with the bounds that apply at this moment."""

    connection: socket.socket
    #: Time at which reading is cut; None while the thread reads nothing.
    read_until: float | None
    #: Count of acknowledged bytes that the client must reach within STALL_SECONDS of `since`.
    expected: int = 0
    since: float = 0.0

    def is_late(self, now: float) -> bool:
        """Return whether the client sends its request too slowly."""
        return self.read_until is not None and self.read_until < now

    def is_stalled(self, now: float) -> bool:
        """Return whether the client takes its answer too slowly, or not at all; call this each second."""
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4)))
            info = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
        except OSError:
            return False  # closed meanwhile: its thread notices that
        (acknowledged,) = _ACKNOWLEDGED.unpack(info)
        if acknowledged >= self.expected:
            self.expected, self.since = acknowledged + min(waiting, STALL_BYTES), now
        return now - self.since > STALL_SECONDS


class BodyReader:
    """gunicorn's reader of a body, bounded in the time for the whole body."""

    def __init__(self, reader: Any, exchange: Exchange, until: float) -> None:
        self._reader, self._exchange, self._until = reader, exchange, until

    def read(self, size: int) -> Any:
        """Read at most this many bytes. Raises TimeoutError when the time for the body is over."""
        self._exchange.read_until = self._until
        try:
            return self._reader.read(size)
        finally:
            self._exchange.read_until = None
            if time.monotonic() > self._until:
                # The reader was cut: what it returned or raised is not the client's.
                raise TimeoutError("the time for the body is over")


@dataclass
class Lingering:
    """Connection that is closed on this side."""

    connection: socket.socket
    until: float
    #: Bytes that may still be read and dropped.
    bytes_left: int = LINGER_BYTES


class BoundedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Worker whose threads and main loop wait for no client longer than the bounds above."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        #: thread -> the request that it serves.
        self._exchanges: dict[int, Exchange] = {}
        self._next_check = 0.0
        #: Connections that are closed on this side, oldest first.
        self._lingering: dict[socket.socket, Lingering] = {}

    def init_process(self) -> None:
        """Prepare the process after the fork; overrides gunicorn's method."""
        # The main loop must not wait long for the interpreter; Python's default is 5 ms for each thread that computes.
        sys.setswitchinterval(_SWITCH_SECONDS)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Without a file to spare, gunicorn ends the process at the next connection.
        most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        for listener in self.sockets:
            # Whatever gunicorn was told to bind. A Unix socket has no address of loopback either.
            refuse_outside(
                str(listener.sock.getsockname()[0] if listener.FAMILY != socket.AF_UNIX else listener)
            )
            # Each accepted connection inherits the options.
            listener.sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_SECONDS * 1000
            )
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        super().init_process()

    def accept(self, listener: Any) -> None:
        """Accept the connections that wait, many at once; overrides gunicorn's method, which accepts one."""
        for _ in range(_ACCEPTED_AT_ONCE):
            before = self.nr_conns
            super().accept(listener)
            if self.nr_conns == before:
                return

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread, but a new one only when its request arrives; overrides gunicorn's method."""
        if conn.data_ready or conn.initialized or _has_data(conn.sock):
            conn.data_ready = True
            super().enqueue_req(conn)
            return
        self._make_room()
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _make_room(self) -> None:
        """Close the oldest idle connection when no other could be accepted."""
        idle = self.pending_conns or self.keepalived_conns
        if idle and self.nr_conns >= self.worker_connections:
            idle[0].timeout = 0.0
            self.murder_pending()
            self.murder_keepalived()

    def load_wsgi(self) -> None:
        """Create the app; errors of Ferryman are a sentence, not a traceback. Overrides gunicorn's method."""
        try:
            super().load_wsgi()
        except FerrymanError as exc:
            print(f"ferryman api: {exc}", file=sys.stderr, flush=True)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def handle(self, conn: Any) -> Any:
        """Read a request and answer it, in a thread of the pool; overrides gunicorn's method."""
        exchange = Exchange(conn.sock, time.monotonic() + HEAD_SECONDS)
        self._exchanges[threading.get_ident()] = exchange
        try:
            return super().handle(conn)
        finally:
            del self._exchanges[threading.get_ident()]

    def head_is_read(self, request: Any, body_bytes: int) -> None:
        """Replace the bound of the head by that of the body; gunicorn's hook `pre_request` calls this."""
        exchange = self._exchanges[threading.get_ident()]
        exchange.read_until = None
        until = time.monotonic() + BODY_SECONDS * max(1.0, body_bytes / (1 << 20))
        request.body.reader = BodyReader(request.body.reader, exchange, until)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Keep a connection for its next request or close it, in the main loop; overrides gunicorn's method."""
        if not fs.cancelled() and fs.exception() is None and not fs.result():
            self.nr_conns -= 1
            self._linger(conn.sock)
        else:
            super().finish_request(conn, fs)

    def _linger(self, connection: socket.socket) -> None:
        """Close this side, and the whole when the client has closed its side too, or after LINGER_SECONDS.

        Closing at once would send a reset when the client still sends, and the client would lose the end of the answer.
        """
        lingering = Lingering(connection, time.monotonic() + LINGER_SECONDS)
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.setblocking(False)
            self.poller.register(connection, selectors.EVENT_READ, partial(self._drain, lingering))
        except (OSError, ValueError):  # closed already
            connection.close()
            return
        self._lingering[connection] = lingering
        if len(self._lingering) > MOST_LINGERING:
            self._close(next(iter(self._lingering)))

    def _drain(self, lingering: Lingering, connection: socket.socket) -> None:
        """Drop what the client still sends; close the connection at its end."""
        try:
            size = len(connection.recv(1 << 16))
        except BlockingIOError:
            return
        except OSError:
            size = 0  # reset by the client: an end too
        lingering.bytes_left -= size
        if not size or lingering.bytes_left <= 0:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        del self._lingering[connection]
        self.poller.unregister(connection)
        connection.close()

    def notify(self) -> None:
        """Close the connections that are overdue; gunicorn's main loop calls this at least once a second."""
        super().notify()
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _CHECK_SECONDS
        for lingering in [each for each in self._lingering.values() if each.until <= now]:
            self._close(lingering.connection)
        for exchange in self._exchanges.copy().values():
            # The connection may be closed already. Its thread goes on as if the client had gone.
            with contextlib.suppress(OSError):
                if exchange.is_late(now):
                    exchange.connection.shutdown(socket.SHUT_RD)
                elif exchange.is_stalled(now):
                    exchange.connection.shutdown(socket.SHUT_RDWR)


def _has_data(connection: socket.socket) -> bool:
    """Return whether a read would not wait: data, an end or an error is there."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
