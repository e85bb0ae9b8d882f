"""API under gunicorn, as people run it: curl, streams, graceful stop, crashes, malformed requests."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api import body
from engine.lifecycle.cancel import cancel
from engine.lifecycle.installation import Installation
from engine.settings import Settings
from engine.store import events, tasks
from engine.store.database import Database
from tests.integration.api.conftest import HELLO
from tests.support.api_server import ApiServer, running_api
from tests.support.callers import TESTER
from tests.support.databases import free_port, missing
from tests.support.redis_server import RedisServer
from tests.support.streams import messages
from tests.support.task_rows import count, submitted
from tests.support.waiting import wait_until

TOKEN = "0123456789abcdef" * 2
ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """Use SQLite only: these tests are about the server, not the store."""
    return sqlite_url


@pytest.fixture
def without_broker(settings: Settings) -> Settings:
    """Return settings whose broker does not answer, which no request may notice."""
    return settings.replace(broker_url=f"redis://127.0.0.1:{free_port()}/0", api_token=TOKEN)


@pytest.fixture
def served(without_broker: Settings, db: Database) -> Iterator[ApiServer]:
    """Run the real server."""
    with running_api(without_broker) as server:
        yield server


def _post(url: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/task", HELLO.encode(), {"Content-Type": "text/yaml"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
        task: dict[str, Any] = json.load(answer)
    return task


def _lines(url: str) -> Iterator[bytes]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        yield from answer


def test_the_curl_line_of_the_readme_works_as_it_is_written(served: ApiServer, db: Database) -> None:
    if shutil.which("curl") is None:
        missing("curl is not installed")
    line = (
        "curl -sS -X POST --data-binary @examples/hello.yaml "
        f"-H 'Content-Type: text/yaml' http://localhost:{_port(served)}/task"
    )
    done = subprocess.run(["sh", "-c", line], capture_output=True, cwd=ROOT, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)
    assert {"state": "PENDING", "image": "ubuntu:mantic"}.items() <= task.items()
    assert count(db, "tasks") == 1
    without_header = subprocess.run(
        ["sh", "-c", line.replace("-H 'Content-Type: text/yaml' ", "")],
        capture_output=True,
        cwd=ROOT,
        timeout=20,
        check=False,
    )
    assert "-H 'Content-Type: text/yaml'" in json.loads(without_header.stdout)["detail"]


def test_a_submission_does_not_wait_for_the_broker(served: ApiServer, db: Database) -> None:
    _post(served.url)
    began = time.monotonic()
    for _ in range(10):
        _post(served.url)
    assert time.monotonic() - began < 5
    assert count(db, "tasks") == 11


def test_events_come_over_the_wire_as_they_happen(served: ApiServer, db: Database) -> None:
    task = submitted(db)
    stream = messages(_lines(f"{served.url}/events?task={task.id}"))
    assert next(stream).data["to"] == "PENDING"
    with db.begin() as c:
        events.add(c, TESTER, "note", task, reason="now")
    began = time.monotonic()
    assert next(stream).data["reason"] == "now"
    assert time.monotonic() - began < 2
    cancel(Installation(db, Settings(), "i1"), TESTER, task.id)
    assert [message.event for message in stream] == ["event", "end"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda number: number.name
)
def test_a_stop_ends_open_streams_and_the_server_soon(served: ApiServer, db: Database, number: int) -> None:
    task = submitted(db)
    streams = [_lines(f"{served.url}/events?task={task.id}") for _ in range(3)]
    streams += [_lines(f"{served.url}/tasks/{task.id}/log?follow=true")]
    assert [next(stream) for stream in streams] == [b"retry: 1000\n"] * 4
    began = time.monotonic()
    assert served.stop(number) == 0
    assert time.monotonic() - began < 6
    for stream in streams:
        _expect_no_end(stream)


def _expect_no_end(stream: Iterator[bytes]) -> None:
    try:
        assert b"event: end\n" not in list(stream)
    except (http.client.HTTPException, ConnectionError):
        # SIGQUIT closes the connection at once: a client reconnects.
        return


@pytest.mark.parametrize(("point", "kept"), [("submit.rows", 0), ("submit.committed", 1)])
def test_a_crash_around_the_commit_keeps_all_or_nothing(
    without_broker: Settings, db: Database, point: str, kept: int
) -> None:
    with running_api(without_broker.replace(failpoint=point)) as server:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            _post(server.url)
        assert [count(db, table) for table in ("jobs", "tasks", "events")] == [kept] * 3


MALFORMED = {
    "no Host": b"GET /jobs HTTP/1.0\r\n\r\n",
    "two Hosts": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "length and chunks": b"POST /task HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /task HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "a line without end": b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header without end": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
}


def _port(served: ApiServer) -> int:
    return urlsplit(served.url).port or 0


def test_malformed_requests_are_refused_and_the_server_goes_on(served: ApiServer, db: Database) -> None:
    answers = {}
    for title, sent in MALFORMED.items():
        with socket.create_connection(("127.0.0.1", _port(served)), timeout=10) as s:
            s.sendall(sent)
            answers[title] = s.recv(4096).split(b" ")[1][:1]
    assert answers == dict.fromkeys(MALFORMED, b"4")
    _post(served.url)
    assert count(db, "tasks") == 1


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nname",
        b"-4\r\nname",
        b"\r\nname",
        b"4\r\nnameX",
        b"4\r\nna",
        b"4\r\nname\r\n",
        b"9" * 40 + b"\r\nname",
    ],
)
def test_malformed_chunks_are_a_bad_request(served: ApiServer, db: Database, chunks: bytes) -> None:
    # Of a client that closes its half of the connection, the kernel tells no account: the token does.
    head = (
        b"POST /task HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\nTransfer-Encoding: chunked\r\n"
    )
    head += f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", _port(served)), timeout=10) as s:
        s.sendall(head + chunks)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(4096).split(b" ")[1] == b"400"
    assert count(db, "tasks") == 0


def test_a_body_that_stops_arriving_delays_no_other_request_and_times_out(
    served: ApiServer, db: Database
) -> None:
    half = b"POST /task HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\nContent-Length: 100\r\n\r\nname"
    halves = [socket.create_connection(("127.0.0.1", _port(served)), timeout=30) for _ in range(40)]
    for s in halves:
        s.sendall(half)
    _post(served.url)
    began = time.monotonic()
    answers = [s.recv(4096) for s in halves]
    assert time.monotonic() - began < body.READ_SECONDS + 5
    assert {answer.split(b" ")[1] for answer in answers} == {b"408"}
    for s in halves:
        s.close()
    assert count(db, "tasks") == 1


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a real broker for one test."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


def test_the_api_itself_sends_submitted_tasks(settings: Settings, db: Database, broker: RedisServer) -> None:
    with running_api(settings.replace(broker_url=broker.url)) as server:
        task_id = _post(server.url)["id"]
        wait_until(lambda: _state(db, task_id) == "SCHEDULED", 10)
        broker.kill()
        later = _post(server.url)["id"]
        broker.start()
        wait_until(lambda: _state(db, later) == "SCHEDULED", 20)


def _state(db: Database, task_id: str) -> str:
    with db.read() as c:
        task = tasks.get(c, task_id)
    return str(task.state) if task else ""


def test_an_api_does_not_serve_with_another_installations_broker(
    settings: Settings, db: Database, broker: RedisServer
) -> None:
    foreign = settings.replace(broker_url=broker.url)
    marker = f"{settings.broker.broker_prefix}installation"
    broker.client.set(marker, "foreign")
    with (
        pytest.raises(AssertionError, match="the broker belongs to installation foreign"),
        running_api(foreign),
    ):
        raise NotImplementedError
    broker.client.delete(marker)
    with running_api(foreign) as server:
        broker.client.set(marker, "foreign")
        assert server.process.wait(timeout=15) != 0
        assert "the broker belongs to installation foreign" in server.log
