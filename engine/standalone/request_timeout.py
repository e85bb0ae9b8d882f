"""gunicorn's worker of threads with a bound for a request's head: else one that stops in it holds a thread for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: From its first byte to the empty line.
HEAD_SECONDS = 10.0


class HeadTimeoutWorker(ThreadWorker):
    """Cuts a connection whose request's head does not come to its end."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        #: thread -> until when its head must be read, and from where it comes.
        self._heads: dict[int, tuple[float, socket.socket]] = {}

    def handle(self, conn: Any) -> Any:
        """As gunicorn's: read a request and answer it, in a thread of the pool."""
        self._heads[threading.get_ident()] = (time.monotonic() + HEAD_SECONDS, conn.sock)
        try:
            return super().handle(conn)
        finally:
            self.head_is_read()

    def head_is_read(self) -> None:
        """Called in the request's thread when its head has come: from here on the views keep their own bounds."""
        self._heads.pop(threading.get_ident(), None)

    def notify(self) -> None:
        """As gunicorn's, which its main loop calls each second."""
        super().notify()
        now = time.monotonic()
        for end, connection in self._heads.copy().values():
            if end < now:
                # It may be closed already. The read in the thread ends, as if the client had gone.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
