"""A door before the Docker daemon that refuses to let containers join another's network, as sandboxed runtimes do."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

_REFUSAL = b'{"message":"joining the network of another container is not supported"}'
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    % (len(_REFUSAL), _REFUSAL)
)
_PIECE = 1 << 16


class PickyDocker:
    """Serves on a socket of its own until `close`; `url` is what a worker is given."""

    def __init__(self, directory: Path, daemon: str = "/var/run/docker.sock") -> None:
        self._daemon = daemon
        self.refused = 0
        self._listener = socket.socket(socket.AF_UNIX)
        path = directory / "picky.sock"
        self._listener.bind(str(path))
        self._listener.listen(64)
        self.url = f"unix://{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, contextlib.suppress(OSError):  # either side may go first
            server.connect(self._daemon)
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            while piece := client.recv(_PIECE):
                if b"/containers/create" in piece:
                    piece = self._whole(client, piece)
                    if b'"container:' in piece:
                        self.refused += 1
                        client.sendall(_ANSWER)
                        return
                server.sendall(piece)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(_PIECE):
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)

    def _whole(self, client: socket.socket, piece: bytes) -> bytes:
        """The request with its body, of the length that its head says."""
        while b"\r\n\r\n" not in piece:
            piece += client.recv(_PIECE)
        head, _, body = piece.partition(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        while len(body) < int(lengths[0]):
            body += client.recv(_PIECE)
        return head + b"\r\n\r\n" + body
