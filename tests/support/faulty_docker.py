"""Proxy before Docker that errs, cuts an answer short, or delays a request, a given number of times."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path

from tests.support.relay import PIECE_BYTES, Relay, at_socket, pass_on, to_socket

_MESSAGE = b'{"message":"a fault of the daemon"}'
_ANSWER = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_MESSAGE), _MESSAGE)
)
#: An answer that pauses for this long after the beginning of its body is cut there.
_PAUSE_SECONDS = 0.5
#: A delayed request is passed on after this time.
DELAY_SECONDS = 5.0


class FaultyDocker:
    """Proxy on a socket of its own until `close`; `url` is the Docker host for a worker."""

    def __init__(self, directory: Path, daemon: str = "/var/run/docker.sock") -> None:
        self._daemon = daemon
        self._pattern, self._fault, self._left = re.compile(b"(?!)"), "", 0
        self._seconds = DELAY_SECONDS
        self._lock = threading.Lock()
        #: How many faults were made.
        self.made = 0
        path = directory / "faulty.sock"
        self.url = f"unix://{path}"
        self._relay = Relay(at_socket(path), self._serve)

    def arm(self, pattern: bytes, fault: str, times: int = 1, seconds: float = DELAY_SECONDS) -> None:
        """Make `fault` ("500", "cut" or "delay") for the next requests whose first line matches `pattern`.

        `seconds` is the length of a delay.
        """
        with self._lock:
            self._pattern, self._fault, self._left = re.compile(pattern), fault, times
            self._seconds = seconds

    def disarm(self) -> None:
        """Make no further fault."""
        with self._lock:
            self._left = 0

    @property
    def is_armed(self) -> bool:
        """Return True while faults are left to be made."""
        return self._left > 0

    def close(self) -> None:
        """Accept no more connections."""
        self._relay.close()

    def _serve(self, client: socket.socket) -> None:
        # Either side may close first.
        with client, to_socket(self._daemon) as server, contextlib.suppress(OSError):
            is_passing = False
            while piece := client.recv(PIECE_BYTES):
                if fault := self._takes(piece):
                    if fault == "delay":
                        time.sleep(self._seconds)
                        server.sendall(piece)
                        pass_on(server, client)
                    elif fault == "500":
                        client.sendall(_ANSWER)
                    else:
                        self._cut(client, server, piece)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                if not is_passing:
                    is_passing = True
                    threading.Thread(target=pass_on, args=(server, client), daemon=True).start()
                server.sendall(piece)

    def _takes(self, piece: bytes) -> str:
        """Return the fault for this request, "" for none."""
        with self._lock:
            if not self._left or not self._pattern.match(piece):
                return ""
            self._left -= 1
            self.made += 1
            return self._fault

    def _cut(self, client: socket.socket, server: socket.socket, request: bytes) -> None:
        server.sendall(request)
        answer, body = b"", b""
        with contextlib.suppress(TimeoutError):
            while piece := server.recv(PIECE_BYTES):
                answer += piece
                head, _, body = answer.partition(b"\r\n\r\n")
                server.settimeout(_PAUSE_SECONDS if body else None)
        client.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])
