"""TCP proxy in front of a Redis that can drop all answers to consumers while the connections stay open.

This is what happens when a firewall forgets a connection. Connections that never sent BRPOP are served as before,
so that only the consumer is deaf.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass

from tests.support.relay import Relay


@dataclass
class _Connection:
    """Connection of a client through the proxy."""

    client: socket.socket
    server: socket.socket
    consumes: bool = False
    is_dead: bool = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):  # the other side may be closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class DeafProxy:
    """Proxy on its own port until `close`; workers get `url`."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._connections: list[_Connection] = []
        self._also_later = False
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        self._relay = Relay(listener, self._serve)

    def deafen(self, *, also_later: bool = False) -> int:
        """Drop all answers to current consumers, with `also_later` also to later ones; return how many consume now."""
        self._also_later = also_later
        deaf = [connection for connection in self._connections if connection.consumes]
        for connection in deaf:
            connection.is_dead = True
        return len(deaf)

    def close(self) -> None:
        """Close all connections."""
        self._relay.close()
        for connection in self._connections:
            connection.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), 5)
        except OSError:  # Redis does not run
            client.close()
            return
        server.settimeout(None)
        connection = _Connection(client, server)
        self._connections.append(connection)
        threading.Thread(target=self._forward_answers, args=(connection,), daemon=True).start()
        self._forward_requests(connection)

    def _forward_requests(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):  # either side may close at any time
            while piece := connection.client.recv(1 << 16):
                connection.consumes = connection.consumes or b"BRPOP" in piece
                connection.server.sendall(piece)
        connection.close()

    def _forward_answers(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):  # see above
            while piece := connection.server.recv(1 << 16):
                if not (connection.is_dead or (self._also_later and connection.consumes)):
                    connection.client.sendall(piece)
        connection.close()
