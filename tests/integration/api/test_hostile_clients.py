"""Clients that send slowly, do not read, or leave connections open: they delay no other request and are cut in time."""

from __future__ import annotations

import contextlib
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api import body
from engine.settings import Settings
from engine.standalone import bounded_worker
from engine.store.database import Database
from tests.support.api_server import ApiServer, running_api
from tests.support.databases import free_port, missing
from tests.support.hostile_clients import KINDS, Kind, holding, is_cut, long_log, seconds_of
from tests.support.waiting import wait_until

CLIENTS = 200
THREADS = 8
_LINE = (1, "2026-01-01T00:00:00.000000000Z", "x" * 1000 + "\n")


def _settings(sqlite_url: str, tmp_path: Path, threads: int) -> Settings:
    settings = Settings.from_env({}, data_dir=str(tmp_path), database_url=sqlite_url, api_threads=threads)
    return settings.replace(broker_url=f"redis://127.0.0.1:{free_port()}/0", sse_clients=CLIENTS)


@pytest.fixture
def task(sqlite_url: str) -> str:
    """Return the id of a running task with a long log."""
    with contextlib.closing(Database(Settings.from_env({}, database_url=sqlite_url).store)) as db:
        return long_log(db)


def _port(server: ApiServer) -> int:
    return urlsplit(server.url).port or 0


def _health(server: ApiServer, timeout: float = 60) -> None:
    with urllib.request.urlopen(f"{server.url}/health", timeout=timeout) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_two_hundred_clients_of_a_kind_delay_no_other_request(
    sqlite_url: str, tmp_path: Path, task: str, kind: Kind
) -> None:
    with running_api(_settings(sqlite_url, tmp_path, 256)) as server:
        with holding(kind, _port(server), CLIENTS, task):
            took = [seconds_of(lambda: _health(server)) for _ in range(12) if time.sleep(0.25) is None]
        print(f"median {statistics.median(took):.3f} s, longest {max(took):.3f} s")
        assert statistics.median(took) < 1
        # Generous on a busy machine: each of these faults costs tens of seconds.
        assert max(took) < 8


#: Kind of slow client -> the most seconds for which it may hold a thread.
_HELD_SECONDS = {
    "heads that trickle": bounded_worker.HEAD_SECONDS,
    "bodies that stop": body.READ_SECONDS,
    "bodies that trickle": bounded_worker.BODY_SECONDS,
    "chunks that trickle": bounded_worker.BODY_SECONDS,
    "unread bodies that trickle": bounded_worker.BODY_SECONDS,
    "readers that do not read": bounded_worker.STALL_SECONDS,
    "requests in a row that are not read": bounded_worker.STALL_SECONDS,
    "streams of a log that are not read": bounded_worker.STALL_SECONDS,
}


def _is_busy(server: ApiServer) -> bool:
    """Return whether no thread is free."""
    try:
        _health(server, timeout=1)
    except OSError:
        return True
    return False


@pytest.mark.long
@pytest.mark.parametrize(("name", "seconds"), _HELD_SECONDS.items(), ids=_HELD_SECONDS.keys())
def test_a_slow_client_holds_a_thread_only_for_seconds(
    sqlite_url: str, tmp_path: Path, task: str, name: str, seconds: float
) -> None:
    with (
        running_api(_settings(sqlite_url, tmp_path, THREADS)) as server,
        holding(KINDS[name], _port(server), THREADS, task),
    ):
        wait_until(lambda: _is_busy(server), 20)
        took = seconds_of(lambda: _health(server, timeout=seconds + 30))
        print(f"a thread is free after {took:.1f} s")
        assert took < seconds + 10


def test_threads_without_a_request_are_none(sqlite_url: str, tmp_path: Path) -> None:
    with (
        running_api(_settings(sqlite_url, tmp_path, THREADS)) as server,
        holding(KINDS["connections without a request"], _port(server), 2 * THREADS),
    ):
        assert seconds_of(lambda: _health(server)) < 4


def test_the_oldest_idle_connection_makes_room_for_a_new_one(sqlite_url: str, tmp_path: Path) -> None:
    most = 1000  # gunicorn's default of worker_connections
    with (
        running_api(_settings(sqlite_url, tmp_path, THREADS)) as server,
        holding(KINDS["connections without a request"], _port(server), most + 100) as connections,
    ):
        assert seconds_of(lambda: _health(server)) < 8
        wait_until(lambda: is_cut(connections[0]), 5)
        assert not is_cut(connections[-1])


def _open_streams(server: ApiServer, count: int) -> list[socket.socket]:
    """Open streams of events; return those that got a seat."""
    streams = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", _port(server)), timeout=10)
        stream.sendall(KINDS["streams"].first)
        if b" 200 " in stream.recv(1 << 16).split(b"\r\n")[0]:
            streams.append(stream)
        else:
            stream.close()
    return streams


def test_a_closed_stream_gives_its_seat_back_within_seconds(sqlite_url: str, tmp_path: Path) -> None:
    settings = _settings(sqlite_url, tmp_path, THREADS).replace(sse_clients=3)
    with running_api(settings) as server:
        streams = _open_streams(server, 4)
        assert len(streams) == 3
        for stream in streams:
            stream.close()
        began = time.monotonic()
        free = wait_until(lambda: _open_streams(server, 1), 5, 0.2)
        print(f"a seat is free after {time.monotonic() - began:.1f} s")
        free[0].close()


@contextmanager
def _cut(streams: list[socket.socket], port: int) -> Iterator[None]:
    """Drop all packets of these connections: their clients have vanished without a word."""
    if shutil.which("iptables") is None:
        missing("iptables is not installed")
    ports = [str(stream.getsockname()[1]) for stream in streams]
    rules = [("--sport", a, "--dport", b) for own in ports for a, b in ((own, str(port)), (str(port), own))]

    def change(action: str) -> None:
        for rule in rules:
            command = ["iptables", "-w", action, "INPUT", "-i", "lo", "-p", "tcp", *rule, "-j", "DROP"]
            subprocess.run(command, check=True, capture_output=True, timeout=20)

    change("-I")
    try:
        yield
    finally:
        change("-D")


@pytest.mark.long
def test_a_client_that_vanished_gives_its_seat_back_within_a_minute(sqlite_url: str, tmp_path: Path) -> None:
    settings = _settings(sqlite_url, tmp_path, THREADS).replace(sse_clients=3)
    with running_api(settings) as server:
        streams = _open_streams(server, 3)
        with _cut(streams, _port(server)):
            began = time.monotonic()
            free = wait_until(lambda: _open_streams(server, 1), 60, 1.0)
            print(f"a seat is free after {time.monotonic() - began:.1f} s")
        for stream in [*streams, *free]:
            stream.close()
