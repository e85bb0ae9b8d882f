"""Ends of logs from a daemon that is slow, or never ends its stream: no output is lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.runtime.base import Order
from engine.runtime.docker import follow
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink, run
from tests.support.relay import Relay, at_socket, pass_on, to_socket

Orders = Callable[..., Order]
LINES = "".join(f"{n}\n" for n in range(1, 100_001))
_HELD_AFTER = 20_000


class SlowDocker:
    """Proxy before Docker's socket that delays or holds the answers to log requests; all others pass."""

    def __init__(self, path: Path, behind: str) -> None:
        self.host, self._behind = f"unix://{path}", behind
        #: A followed log stops after this many bytes and stays open; any other log is delayed by this many seconds.
        self.held_after: int | None = None
        self.late_seconds = 0.0
        self.held = self.late = 0
        self.closed = threading.Event()
        self._relay = Relay(at_socket(path), self._serve)

    def close(self) -> None:
        """Accept no more connections and hold none."""
        self.closed.set()
        self._relay.close()

    def _serve(self, client: socket.socket) -> None:
        server, connection = to_socket(self._behind), _Connection(self)
        threading.Thread(target=pass_on, args=(client, server, connection.on_request), daemon=True).start()
        pass_on(server, client, connection.on_answer)


class _Connection:
    """One connection, which may carry several requests one after another."""

    def __init__(self, docker: SlowDocker) -> None:
        self._docker, self._kind, self._passed = docker, "", 0

    def on_request(self, piece: bytes) -> None:
        request = piece.split(b"\r\n", 1)[0]
        if b"/logs?" in request:
            self._kind, self._passed = "followed" if b"follow=1" in request else "plain", 0

    def on_answer(self, piece: bytes) -> None:
        docker = self._docker
        if self._kind == "followed" and docker.held_after is not None:
            self._passed += len(piece)
            if self._passed > docker.held_after:
                docker.held += 1
                docker.closed.wait(60)
        elif self._kind == "plain" and docker.late_seconds:
            docker.late, self._kind = docker.late + 1, ""
            time.sleep(docker.late_seconds)


def socket_of(docker: Client) -> str:
    """Return the path of the daemon's socket."""
    docker.api.ping()
    if not docker.address.startswith("unix://"):
        pytest.skip(f"the daemon is at {docker.address}, not at a socket")
    return docker.address.removeprefix("unix://")


@pytest.fixture
def slow(tmp_path: Path, docker: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDocker]:
    """Run the proxy before the daemon; a silent stream is interrupted after a moment."""
    monkeypatch.setattr(follow, "DRAIN_SECONDS", 0.3)
    proxy = SlowDocker(tmp_path / "s.sock", socket_of(docker))
    yield proxy
    proxy.close()


def test_a_stream_that_never_ends_is_interrupted_and_the_rest_read_without_following(
    slow: SlowDocker, make_runtime: Callable[..., DockerRuntime], order: Orders
) -> None:
    slow.held_after = _HELD_AFTER
    sink = KeepingSink()
    outcome = run(make_runtime(docker_host=slow.host), order(run="seq 100000"), sink)
    assert slow.held, "the stream was not held, so the test proves nothing"
    assert sink.text(1).decode() == LINES
    assert outcome.result == LINES[-65536:]


def test_reads_without_following_may_take_longer_than_a_silent_stream(
    slow: SlowDocker, make_runtime: Callable[..., DockerRuntime], order: Orders
) -> None:
    slow.held_after, slow.late_seconds = _HELD_AFTER, 1.0
    sink = KeepingSink()
    outcome = run(make_runtime(docker_host=slow.host), order(run="seq 100000"), sink)
    assert slow.late, "no read was late, so the test proves nothing"
    assert sink.text(1).decode() == LINES
    assert outcome.result == LINES[-65536:]
