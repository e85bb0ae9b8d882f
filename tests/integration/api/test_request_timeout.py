"""Request head that never ends: the server closes the connection and frees its thread."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engine.settings import Settings
from engine.standalone.request_timeout import HEADER_SECONDS
from tests.support.api_server import ApiServer, running_api
from tests.support.databases import free_port
from tests.support.waiting import wait_until

THREADS = 8


@pytest.fixture
def served(sqlite_url: str, tmp_path: Path) -> Iterator[ApiServer]:
    """Run the real server with few threads."""
    settings = Settings.from_env({}, data_dir=str(tmp_path), database_url=sqlite_url, api_threads=THREADS)
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with running_api(settings.replace(broker_url=nowhere, sse_clients=THREADS // 2)) as server:
        yield server


@pytest.mark.long
def test_an_unfinished_request_head_holds_a_thread_only_for_seconds(served: ApiServer) -> None:
    port = urlsplit(served.url).port or 0
    stalled = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(THREADS)]
    began = time.monotonic()
    for connection in stalled:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Sl")
    # A byte now and then does not extend the time.
    slow = stalled[0]
    wait_until(lambda: _is_closed(slow), HEADER_SECONDS + 20, 1.0)
    for connection in stalled[1:]:
        assert connection.recv(1024) == b"", "closed without an answer"
    with urllib.request.urlopen(f"{served.url}/health", timeout=20) as answer:
        assert answer.status == 200
    print(f"all threads free again after {time.monotonic() - began:.1f} s")
    for connection in stalled:
        connection.close()


def _is_closed(connection: socket.socket) -> bool:
    """Send one more byte; return True once the server has closed the connection."""
    try:
        connection.sendall(b"o")
    except OSError:
        return True
    return False
