"""Headers that a proxy would set: on loopback anybody could send them, so the served API trusts none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engine.settings import Settings
from tests.support.api_server import ApiServer, running_api
from tests.support.databases import free_port


@pytest.fixture
def served(sqlite_url: str, tmp_path: Path) -> Iterator[ApiServer]:
    """Run the real server without a broker."""
    settings = Settings.from_env({}, data_dir=str(tmp_path), database_url=sqlite_url)
    with running_api(settings.replace(broker_url=f"redis://127.0.0.1:{free_port()}/0")) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("/health/jobs", "SCRIPT_NAME: /health", "404"),
        ("/health/jobs", "Script-Name: /health", "404"),
        ("/health", "SCRIPT_NAME: /x", "200"),
        ("/health", "PATH_INFO: /jobs", "200"),
        ("/health", "X-Forwarded-Proto: https", "200"),
    ],
)
def test_a_header_of_a_proxy_changes_nothing(served: ApiServer, path: str, header: str, status: str) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0), timeout=20) as client:
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.split()[1] == status, head
    assert "Content-Security-Policy" in head
    assert "items" not in body, "the list of jobs"
