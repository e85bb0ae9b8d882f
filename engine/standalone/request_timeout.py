"""gunicorn's threaded worker with a time-out for request headers; without it a slow client blocks a thread for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: Limit from the first byte of a request to the empty line after its headers.
HEADER_SECONDS = 10.0


class HeaderTimeoutWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Worker that closes connections whose request headers do not arrive in time."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        #: thread -> deadline for the headers, and the connection.
        self._deadlines: dict[int, tuple[float, socket.socket]] = {}

    def handle(self, conn: Any) -> Any:
        """Read a request and answer it, in a thread of the pool; overrides gunicorn's method."""
        self._deadlines[threading.get_ident()] = (time.monotonic() + HEADER_SECONDS, conn.sock)
        try:
            return super().handle(conn)
        finally:
            self.headers_are_read()

    def headers_are_read(self) -> None:
        """End the time-out of the calling thread's request; from here on the views have their own limits."""
        self._deadlines.pop(threading.get_ident(), None)

    def notify(self) -> None:
        """Close the connections that are overdue; gunicorn's main loop calls this each second."""
        super().notify()
        now = time.monotonic()
        for deadline, connection in self._deadlines.copy().values():
            if deadline < now:
                # The connection may be closed already. The thread's read ends as if the client had gone.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
