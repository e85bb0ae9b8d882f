"""What stands between a client and a server in tests: it accepts, and serves each connection in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 1 << 16


def at_socket(path: Path) -> socket.socket:
    """A listener at a Unix socket of this path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def to_socket(path: str) -> socket.socket:
    """A connection to the Unix socket of this path."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    return made


class Relay:
    """Accepts connections until it is closed; `serve` gets each."""

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self._listener, self._serve = listener, serve
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):  # a listener that nobody waits at
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
    """Carry all bytes one way, each piece after `look` has seen it; at the end nothing passes any more."""
    with contextlib.suppress(OSError):  # either side may go at any time
        while piece := source.recv(PIECE_BYTES):
            look(piece)
            to.sendall(piece)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_RDWR)
