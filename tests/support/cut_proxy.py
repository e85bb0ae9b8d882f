"""TCP proxy in front of a server that can be cut and mended: meanwhile connections are refused."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.support.relay import Relay, pass_on


class CutProxy:
    """Proxy on its own port until `close`; clients use `port`."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._ends: list[socket.socket] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self._relay = Relay(listener, self._serve)

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        self._relay.close()
        for end in self._ends:
            with contextlib.suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def mend(self) -> None:
        """Listen again on the same port."""
        self._relay = Relay(socket.create_server(("127.0.0.1", self.port)), self._serve)

    def close(self) -> None:
        """Close everything."""
        self.cut()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server_port), 5)
        server.settimeout(None)
        self._ends += [client, server]
        threading.Thread(target=pass_on, args=(server, client), daemon=True).start()
        pass_on(client, server)
