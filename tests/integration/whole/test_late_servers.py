"""Processes that start before their database, broker or Docker, or with wrong settings: real servers, real commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from engine.model.states import NodeState
from engine.settings import Settings, StoreSettings
from engine.store import nodes
from engine.store.database import Database
from tests.support.databases import Postgres, free_port
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay, at_socket, pass_on, to_socket
from tests.support.standalone import FERRYMAN, environment, ferryman
from tests.support.waiting import wait_until

WORKER = (sys.executable, "-m", "celery", "-A", "engine", "worker", "-c", "1")
ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def started(words: tuple[str, ...], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command with its output in a file; kill it at the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=dict(env), cwd=ROOT, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis that this test alone may stop."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.mark.docker
@pytest.mark.timeout(200)
def test_a_worker_waits_for_database_broker_and_docker_and_then_serves(
    postgres_server: Postgres, own_redis: RedisServer, tmp_path: Path
) -> None:
    require_docker(BUSYBOX)
    url, docker, log = postgres_server.new(), tmp_path / "docker.sock", tmp_path / "worker.log"
    env = environment(
        tmp_path,
        FERRYMAN_DATABASE_URL=url,
        FERRYMAN_BROKER_URL=own_redis.url,
        FERRYMAN_DOCKER_HOST=f"unix://{docker}",
        FERRYMAN_LEASE_SECONDS="1",
    )
    postgres_server.stop()
    own_redis.stop()
    db = Database(StoreSettings(database_url=url))
    with started(WORKER, env, log) as worker:
        try:
            wait_until(lambda: log.read_text().count("waiting for the database") == 2, 40, 0.1)
        finally:
            postgres_server.start()
        wait_until(lambda: log.read_text().count("waiting for the broker") == 2, 40, 0.1)
        own_redis.start()
        wait_until(lambda: log.read_text().count("waiting for Docker") == 2, 40, 0.1)
        relay = Relay(at_socket(docker), _to_docker)
        wait_until(lambda: [n.state for n in _nodes(db)] == [NodeState.LIVE], 40, 0.1)
        relay.close()
        assert worker.poll() is None
    db.close()
    lines = log.read_text()
    assert re.search(r"waiting for the database, \d+ s so far: .*Connection refused", lines), lines
    assert (
        "the database answers after" in lines and "Docker answers after" in lines and "Traceback" not in lines
    )


def _to_docker(client: socket.socket) -> None:
    import threading

    server = to_socket("/var/run/docker.sock")
    threading.Thread(target=pass_on, args=(server, client), daemon=True).start()
    pass_on(client, server)


def _nodes(db: Database) -> list[nodes.Node]:
    with db.read() as c:
        return nodes.beating(c)


def _away(tmp_path: Path, **more: str) -> dict[str, str]:
    """Return an environment whose database and broker are not there."""
    url = f"postgresql+psycopg://postgres@127.0.0.1:{free_port()}/f"
    broker = f"redis://127.0.0.1:{free_port()}/0"
    return environment(tmp_path, FERRYMAN_DATABASE_URL=url, FERRYMAN_BROKER_URL=broker, **more)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_leaves_in_order(tmp_path: Path, number: int) -> None:
    log = tmp_path / "worker.log"
    with started(WORKER, _away(tmp_path), log) as worker:
        wait_until(lambda: "waiting for the database" in log.read_text(), 40, 0.1)
        worker.send_signal(number)
        assert worker.wait(10) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    "words", [WORKER, (*FERRYMAN, "db", "upgrade"), (*FERRYMAN, "standalone", "--port", "0")]
)
def test_patience_ends_with_75_and_a_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    log, env = tmp_path / "out", _away(tmp_path, FERRYMAN_PATIENCE_SECONDS="1.5")
    with started(words, env, log) as process:
        assert process.wait(60) == 75, log.read_text()
    lines = log.read_text()
    assert re.search(r"ferryman\b.*: waited 1.5 s for the (database|broker)", lines), lines
    assert "Traceback" not in lines


def _answer(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except (urllib.error.URLError, ConnectionError):
        return 0


@pytest.mark.timeout(120)
def test_an_api_serves_health_while_it_waits_for_its_database(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "api.log"
    env = _away(tmp_path) | {"FERRYMAN_DATABASE_URL": postgres_server.new(), "FERRYMAN_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    postgres_server.stop()
    with started((*FERRYMAN, "api"), env, log) as api:
        try:
            wait_until(lambda: _answer(f"{url}/health") == 200, 40, 0.1)
            paths = ("/ready", "/jobs", "/metrics", "/", "/events")
            assert {path: _answer(url + path) for path in paths} == dict.fromkeys(paths, 503)
            wait_until(lambda: log.read_text().count("waiting for the database") == 2, 40, 0.1)
        finally:
            postgres_server.start()
        wait_until(lambda: _answer(f"{url}/ready") == 200, 40, 0.1)
        assert _answer(f"{url}/jobs") == 200
        api.send_signal(signal.SIGTERM)
        assert api.wait(15) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_an_api_that_waits_leaves_in_order(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "api.log"
    with started((*FERRYMAN, "api"), _away(tmp_path, FERRYMAN_PORT=str(port)), log) as api:
        wait_until(lambda: _answer(f"http://127.0.0.1:{port}/health") == 200, 40, 0.1)
        api.send_signal(signal.SIGTERM)
        assert api.wait(15) == 0, log.read_text()


def test_a_stand_alone_waits_for_its_configured_broker(own_redis: RedisServer, tmp_path: Path) -> None:
    require_docker(BUSYBOX)
    log = tmp_path / "out"
    own_redis.stop()
    env = environment(tmp_path, FERRYMAN_BROKER_URL=own_redis.url)
    with started((*FERRYMAN, "standalone", "--port", "0"), env, log) as process:
        wait_until(lambda: log.read_text().count("waiting for the broker") == 2, 40, 0.1)
        own_redis.start()
        wait_until(lambda: "\nReady in " in log.read_text(), 60, 0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_worker_names_the_policy_of_a_broker_that_removes_messages(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    own_redis.client.config_set("maxmemory-policy", "allkeys-lru")
    own_redis.client.config_set("maxmemory", "100mb")
    log = tmp_path / "worker.log"
    with started(WORKER, environment(tmp_path, FERRYMAN_BROKER_URL=own_redis.url), log):
        wait_until(lambda: "(maxmemory-policy allkeys-lru): set noeviction" in log.read_text(), 40, 0.1)


# Wrong, not late: 78 at once.


def _newer_schema(tmp_path: Path, **_: object) -> dict[str, str]:
    db = Database(Settings.from_env({}, data_dir=str(tmp_path / ".local/share/ferryman")).store)
    db.open()
    with db.begin() as c:
        c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    return {}


def _damaged(tmp_path: Path, **_: object) -> dict[str, str]:
    file = tmp_path / ".local/share/ferryman/ferryman.db"
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_bytes(b"this is not a database" * 1000)
    return {}


def _unknown_database(tmp_path: Path, postgres_server: Postgres) -> dict[str, str]:
    return {"FERRYMAN_DATABASE_URL": postgres_server.url("nowhere"), "FERRYMAN_ONE_HOST": "1"}


def _no_permission(tmp_path: Path, postgres_server: Postgres) -> dict[str, str]:
    name = f"guest{os.getpid()}"
    url = postgres_server.new(empty=True)
    postgres_server.sql(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")
    return {"FERRYMAN_DATABASE_URL": url.replace("postgres@", f"{name}@")}


def _other_encoding(tmp_path: Path, postgres_server: Postgres) -> dict[str, str]:
    name = f"ascii{os.getpid()}"
    postgres_server.sql(f"DROP DATABASE IF EXISTS {name}")
    template = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres_server.sql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' {template}")
    return {"FERRYMAN_DATABASE_URL": postgres_server.url(name)}


def _other_scheme(tmp_path: Path, **_: object) -> dict[str, str]:
    return {"FERRYMAN_DATABASE_URL": "postgres://u:geheim@127.0.0.1/f"}


def _broker_url(tmp_path: Path, **_: object) -> dict[str, str]:
    return {"FERRYMAN_BROKER_URL": "redis://:geheim@127.0.0.1:6379/first"}


FAULTS = {
    _newer_schema: "this database has schema 9999",
    _damaged: "the database is damaged (file is not a database): stop all processes",
    _unknown_database: 'database "nowhere" does not exist: correct FERRYMAN_DATABASE_URL',
    _no_permission: "permission denied for schema public: correct FERRYMAN_DATABASE_URL",
    _other_encoding: "has the encoding SQL_ASCII: make one with createdb -E UTF8 -T template0 NAME",
    _other_scheme: "FERRYMAN_DATABASE_URL begins with 'postgres': expected postgresql+psycopg://",
    _broker_url: "FERRYMAN_BROKER_URL=redis://:***@127.0.0.1:6379/first: expected redis://host:port/db",
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_ends_each_process_with_78_and_a_sentence(
    fault: object, postgres_server: Postgres, own_redis: RedisServer, tmp_path: Path
) -> None:
    assert callable(fault)
    more = {"FERRYMAN_BROKER_URL": own_redis.url} | fault(tmp_path, postgres_server=postgres_server)
    env, commands = environment(tmp_path, **more), [WORKER, (*FERRYMAN, "db", "upgrade")]
    commands += [(*FERRYMAN, "api", "--port", str(free_port())), (*FERRYMAN, "standalone", "--port", "0")]
    if fault is _broker_url:
        commands.remove((*FERRYMAN, "db", "upgrade"))
    logs: list[tuple[tuple[str, ...], IO[str], subprocess.Popen[bytes]]] = []
    for number, words in enumerate(commands):
        out = (tmp_path / f"out{number}").open("w+")
        logs.append((words, out, subprocess.Popen(words, env=env, cwd=ROOT, stdout=out, stderr=out)))
    for words, out, process in logs:
        try:
            status = process.wait(90)
        finally:
            process.kill()
            process.wait(10)
        with out:
            out.seek(0)
            lines = out.read()
        assert status == 78, (words, lines)
        assert FAULTS[fault] in lines, (words, lines)  # type: ignore[index]
        assert "Traceback" not in lines and "geheim" not in lines, (words, lines)


@pytest.mark.parametrize("words", [WORKER, (*FERRYMAN, "standalone", "--port", "0")])
def test_a_broker_that_refuses_the_password_ends_with_78(
    own_redis: RedisServer, tmp_path: Path, words: tuple[str, ...]
) -> None:
    own_redis.client.config_set("requirepass", "geheim")
    log = tmp_path / "out"
    url = own_redis.url.replace("redis://", "redis://:falsch@")
    with started(words, environment(tmp_path, FERRYMAN_BROKER_URL=url), log) as process:
        assert process.wait(60) == 78, log.read_text()
    lines = log.read_text()
    assert "invalid username-password pair" in lines.lower() and "falsch" not in lines, lines
    assert "Traceback" not in lines


def test_a_file_that_was_damaged_is_said_by_doctor(tmp_path: Path) -> None:
    _damaged(tmp_path)
    done = ferryman("doctor", env=environment(tmp_path))
    assert done.returncode == 1 and "the database is damaged (file is not a database)" in done.stdout
    assert "restore a backup" in done.stdout and not done.stderr
