"""A TCP proxy before a Redis that lets connections go half dead: what a consumer waits for never arrives.

Both ends stay open, as when a firewall forgets a connection. Connections that never asked for messages (BRPOP)
are served as before, so that only the consumer is deaf.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass

from tests.support.relay import Relay


@dataclass
class _Line:
    """One client's connection through the proxy."""

    client: socket.socket
    server: socket.socket
    consumes: bool = False
    is_dead: bool = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):  # the other side may have gone first
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class DeafProxy:
    """Serves on a port of its own until `close`; `url` is what a worker is given."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._lines: list[_Line] = []
        self._later_too = False
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        self._relay = Relay(listener, self._serve)

    def deafen(self, *, later_too: bool = False) -> int:
        """Withhold every answer from those that consume now, or from later ones too; how many there are."""
        self._later_too = later_too
        deaf = [line for line in self._lines if line.consumes]
        for line in deaf:
            line.is_dead = True
        return len(deaf)

    def close(self) -> None:
        """Cut everything."""
        self._relay.close()
        for line in self._lines:
            line.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._behind), 5)
        except OSError:  # the Redis behind is gone
            client.close()
            return
        server.settimeout(None)
        line = _Line(client, server)
        self._lines.append(line)
        threading.Thread(target=self._answer, args=(line,), daemon=True).start()
        self._ask(line)

    def _ask(self, line: _Line) -> None:
        with contextlib.suppress(OSError):  # either side may go at any time
            while piece := line.client.recv(1 << 16):
                line.consumes = line.consumes or b"BRPOP" in piece
                line.server.sendall(piece)
        line.close()

    def _answer(self, line: _Line) -> None:
        with contextlib.suppress(OSError):  # as above
            while piece := line.server.recv(1 << 16):
                if not (line.is_dead or (self._later_too and line.consumes)):
                    line.client.sendall(piece)
        line.close()
