"""Access: the API's own account and root need no token; every other account of the host does."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api import peer
from api.access import Access, NotAdmitted
from engine.client import ApiError, Client
from engine.settings import Settings
from engine.store.database import Database
from tests.integration.api.conftest import HELLO
from tests.support.accounts import NOBODY, as_account
from tests.support.api_server import ApiServer, running_api
from tests.support.databases import free_port, missing
from tests.support.task_rows import count

TOKEN = "t" * 20 + "0123456789-._~+/="
#: Address of the server, and address and family of the client.
WAYS = {
    "IPv4": ("127.0.0.1", "127.0.0.1", socket.AF_INET),
    "another address of loopback": ("127.0.0.1", "127.9.9.9", socket.AF_INET),
    "IPv6": ("::1", "::1", socket.AF_INET6),
    "IPv4 in IPv6": ("127.0.0.1", "::ffff:127.0.0.1", socket.AF_INET6),
}


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """Use SQLite only: these tests are about the server, not the store."""
    return sqlite_url


@pytest.fixture
def nowhere(settings: Settings) -> Settings:
    """Return settings with a token, and with a broker that does not answer."""
    return settings.replace(broker_url=f"redis://127.0.0.1:{free_port()}/0", api_token=TOKEN)


@pytest.fixture
def served(nowhere: Settings, db: Database) -> Iterator[ApiServer]:
    """Run the real server."""
    with running_api(nowhere) as server:
        yield server


def _connect(server: ApiServer, uid: int, way: str = "IPv4") -> socket.socket:
    _, address, family = WAYS[way]
    with as_account(uid):
        connection = socket.socket(family)
        connection.settimeout(20)
        if way == "another address of loopback":
            connection.bind((address, 0))
            address = "127.0.0.1"
        connection.connect((address, urlsplit(server.url).port or 0))
    return connection


def _post(more: str = "") -> bytes:
    return (
        f"POST /task HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n{more}"
        f"Content-Length: {len(HELLO)}\r\n\r\n{HELLO}"
    ).encode()


def _get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n".encode()


def _status(connection: socket.socket, sent: bytes) -> int:
    connection.sendall(sent)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    if answer.headers.get_content_type() != "text/event-stream":
        answer.read()
    return answer.status


@pytest.mark.parametrize("way", WAYS)
def test_another_account_neither_lists_nor_submits(nowhere: Settings, db: Database, way: str) -> None:
    with running_api(nowhere.replace(host=WAYS[way][0])) as server:
        for sent in (_get("/jobs"), _post(), _get("/"), _get("/events"), _get("/openapi.json"), _get("/x")):
            with _connect(server, NOBODY, way) as connection:
                assert _status(connection, sent) == 401
        with _connect(server, 0, way) as connection:
            assert _status(connection, _post()) == 201
            assert _status(connection, _post()) == 201, "a second request of the same connection"
    assert count(db, "tasks") == 2


def test_the_refusal_names_both_accounts_and_the_remedy(served: ApiServer) -> None:
    with _connect(served, NOBODY) as connection:
        connection.sendall(_get("/jobs"))
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert b"WWW-Authenticate: Basic" in head
    detail = json.loads(body)["detail"]
    assert f"comes from account nobody (uid {NOBODY})" in detail
    assert "only account root (uid 0) and root need no token" in detail
    assert "FERRYMAN_API_TOKEN" in detail and "run.json" in detail
    assert TOKEN not in answer.decode()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_another_account_that_sends_and_closes_submits_nothing(
    served: ApiServer, db: Database, reset: bool
) -> None:
    # The socket of a client that has closed it reads uid 0.
    for _ in range(50):
        with _connect(served, NOBODY) as connection:
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(_post())
    with _connect(served, 0) as connection:
        assert _status(connection, _post()) == 201
    # Until its end the server may read the requests of closed connections.
    assert served.stop() == 0, served.log
    assert count(db, "tasks") == 1


def test_another_account_with_the_token_may_do_all(served: ApiServer, db: Database) -> None:
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    for header in (f"Authorization: Bearer {TOKEN}\r\n", f"Authorization: Basic {basic}\r\n"):
        with _connect(served, NOBODY) as connection:
            assert _status(connection, _post(header)) == 201
        with _connect(served, NOBODY) as connection:
            assert _status(connection, _get("/events", header)) == 200
    assert count(db, "tasks") == 2
    assert TOKEN not in served.log


@pytest.mark.parametrize(
    "header", ["Bearer x", "Bearer", f"Bearer {TOKEN}x", "Basic eDp5", f"Digest {TOKEN}", "Bearer é"]
)
def test_a_wrong_token_is_refused_and_a_later_request_of_its_connection_too(
    served: ApiServer, header: str
) -> None:
    with _connect(served, NOBODY) as connection:
        sent = f"GET /jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\n\r\n".encode()
        assert _status(connection, sent) == 401
        assert _status(connection, _get("/jobs")) == 401


def test_a_connection_that_sent_the_token_once_needs_it_again(served: ApiServer) -> None:
    with _connect(served, NOBODY) as connection:
        sent = f"GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        assert _status(connection, sent) == 200
        assert _status(connection, _get("/jobs")) == 401


def test_without_a_token_set_no_token_is_right(nowhere: Settings, db: Database) -> None:
    with running_api(nowhere.replace(api_token="")) as server:
        for header in ("", "Authorization: Bearer \r\n", "Authorization: Basic Og==\r\n"):
            with _connect(server, NOBODY) as connection:
                assert _status(connection, _get("/jobs", header)) == 401


def test_monitors_of_every_account_may_ask_whether_the_api_answers(served: ApiServer) -> None:
    for path in ("/health", "/status"):
        with _connect(served, NOBODY) as connection:
            assert _status(connection, _get(path)) == 200


def test_an_api_that_is_open_to_every_account_says_so(nowhere: Settings, db: Database) -> None:
    with running_api(nowhere.replace(no_token=True)) as server:
        with _connect(server, NOBODY) as connection:
            assert _status(connection, _post()) == 201
        assert "every account of this host may use the API without a token" in server.log


def test_curl_of_another_account_is_refused(served: ApiServer) -> None:
    if shutil.which("curl") is None or os.geteuid() != 0:
        missing("needs curl and root")
    words = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", f"{served.url}/jobs"]
    codes = [
        subprocess.run(
            words, user=user, cwd="/", capture_output=True, text=True, timeout=20, check=True
        ).stdout
        for user in (NOBODY, 0)
    ]
    assert codes == ["401", "200"]


def test_the_client_sends_the_token(served: ApiServer) -> None:
    with as_account(NOBODY):
        with pytest.raises(ApiError, match="send the header 'Authorization: Bearer TOKEN'") as caught:
            Client(served.url).jobs()
        assert caught.value.status == 401
        assert Client(served.url, token=TOKEN).jobs()["items"] == []


@contextmanager
def _pair(uid: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a connection as this account; yield the server's end and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with as_account(uid):
            client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with server, client:
            yield server, client


def test_an_api_of_another_account_admits_itself_and_root() -> None:
    with as_account(NOBODY):
        access = Access("")
    for uid, is_admitted in ((NOBODY, True), (0, True), (1, False)):
        with _pair(uid) as (server, _):
            if is_admitted:
                access.check(server, None)
            else:
                with pytest.raises(NotAdmitted, match=r"uid 1\), and only .*\(uid 65534\) and root"):
                    access.check(server, None)


def test_only_an_open_client_counts() -> None:
    with _pair(NOBODY) as (server, client):
        assert peer.uid_of(server) == NOBODY
        client.shutdown(socket.SHUT_WR)
        assert peer.uid_of(server) is None
    with _pair(NOBODY) as (server, client):
        client.close()
        assert peer.uid_of(server) is None
    assert peer.uid_of(socket.socket()) is None
    with pytest.raises(NotAdmitted):
        Access("").check(None, None)


def test_a_connection_outside_loopback_tells_no_account(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            missing("the host has no network")
        own = probe.getsockname()[0]
    with socket.create_server((own, 0)) as listener, socket.create_connection(listener.getsockname()):
        server, _ = listener.accept()
        with server:
            assert peer.uid_of(server) is None
