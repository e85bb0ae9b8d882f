"""Relay between a client and a server in tests, with a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 1 << 16


def at_socket(path: Path) -> socket.socket:
    """Return a listener on a Unix socket at this path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def to_socket(path: str) -> socket.socket:
    """Return a connection to the Unix socket at this path."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


class Relay:
    """Listener that passes each connection to `serve` until it is closed."""

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self._listener, self._serve = listener, serve
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):  # no thread waits in accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()


def pass_on(source: socket.socket, to: socket.socket, look: Callable[[bytes], object] = len) -> None:
    """Copy all bytes in one direction, call `look` with each piece first, and shut the target down at the end."""
    with contextlib.suppress(OSError):  # either side may close at any time
        while piece := source.recv(PIECE_BYTES):
            look(piece)
            to.sendall(piece)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_RDWR)
