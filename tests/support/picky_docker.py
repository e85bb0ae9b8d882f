"""Proxy before Docker that refuses containers which join another container's network, as sandboxed runtimes do."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from tests.support.relay import PIECE_BYTES, Relay, at_socket, pass_on, to_socket

_REFUSAL = b'{"message":"joining the network of another container is not supported"}'
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    % (len(_REFUSAL), _REFUSAL)
)


class PickyDocker:
    """Proxy on a socket of its own until `close`; `url` is the Docker host for a worker."""

    def __init__(self, directory: Path, daemon: str = "/var/run/docker.sock") -> None:
        self._daemon = daemon
        self.refused = 0
        path = directory / "picky.sock"
        self.url = f"unix://{path}"
        self._relay = Relay(at_socket(path), self._serve)

    def close(self) -> None:
        """Accept no more connections."""
        self._relay.close()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            to_socket(self._daemon) as server,
            contextlib.suppress(OSError),
        ):  # either side may close first
            threading.Thread(target=pass_on, args=(server, client), daemon=True).start()
            while piece := client.recv(PIECE_BYTES):
                if b"/containers/create" in piece:
                    piece = self._read_request(client, piece)
                    if b'"container:' in piece:
                        self.refused += 1
                        client.sendall(_ANSWER)
                        return
                server.sendall(piece)

    def _read_request(self, client: socket.socket, piece: bytes) -> bytes:
        """Read on until the request has the body whose length its head gives; return the request."""
        while b"\r\n\r\n" not in piece:
            piece += client.recv(PIECE_BYTES)
        head, _, body = piece.partition(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        while len(body) < int(lengths[0]):
            body += client.recv(PIECE_BYTES)
        return head + b"\r\n\r\n" + body
