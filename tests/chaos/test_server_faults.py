"""Broker and database that stop, hang, are wiped, fill up or hold garbage, under real workers with work in hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.states import TaskState
from tests.support.databases import Postgres
from tests.support.faults import completed_once
from tests.support.fleet import Fleet, a_fleet
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

WORK = "name: work\nimage: busybox:1.36\nrun: 'sleep 3; echo -n done > $FERRYMAN_OUTPUT'\n"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test alone may break."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.signal(signal.SIGCONT)
    server.stop()


@pytest.fixture
def broken(sqlite_url: str, tmp_path: Path, own_redis: RedisServer) -> Iterator[Fleet]:
    """A fleet on SQLite over the Redis that is to be broken."""
    with a_fleet(tmp_path, sqlite_url, own_redis) as made:
        yield made


@pytest.fixture
def on_postgres(postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """A fleet on PostgreSQL."""
    with a_fleet(tmp_path, postgres_server.new(), redis_server) as made:
        yield made


def _busy(fleet: Fleet, count: int = 5) -> list[str]:
    """A worker with two running tasks, and others that wait."""
    fleet.worker("-c", "2")
    ids = fleet.submit(WORK, count)
    wait_until(lambda: sum(fleet.task(id).state is TaskState.RUNNING for id in ids) == 2, 30)
    wait_until(lambda: all(fleet.task(id).state is not TaskState.PENDING for id in ids), 20)
    return ids


def _lasting(seconds: float) -> None:
    """Let the fault last: the time itself is what is tried, nothing is waited for."""
    threading.Event().wait(seconds)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [5, 30])
def test_work_survives_a_redis_that_is_away(broken: Fleet, seconds: float) -> None:
    ids = _busy(broken)
    broken.redis.stop()
    ids += broken.submit(WORK)
    _lasting(seconds)
    broken.redis.start()
    completed_once(broken, ids, 60, "done")


@pytest.mark.long
def test_work_survives_a_redis_that_comes_back_empty(broken: Fleet) -> None:
    ids = _busy(broken)
    _empty(broken.redis)
    completed_once(broken, ids, 60, "done")


def _empty(redis: RedisServer) -> None:
    redis.kill()
    for path in redis.directory.glob("appendonlydir/*"):
        path.unlink()
    redis.start()
    assert not redis.client.keys("*appendonly*")


@pytest.mark.long
def test_work_survives_a_redis_that_hangs(broken: Fleet) -> None:
    ids = _busy(broken)
    broken.redis.signal(signal.SIGSTOP)
    ids += broken.submit(WORK)
    _lasting(8)
    broken.redis.signal(signal.SIGCONT)
    completed_once(broken, ids, 60, "done")


@pytest.mark.long
def test_work_survives_a_redis_that_is_full(broken: Fleet) -> None:
    ids = _busy(broken)
    client = broken.redis.client
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1mb")
    refused = broken.submit(WORK, 2)
    _lasting(5)
    assert {broken.task(id).state for id in refused} == {TaskState.PENDING}, "accepted, not sent"
    client.config_set("maxmemory", "0")
    completed_once(broken, ids + refused, 60, "done")


def _messages(fleet: Fleet, queue: str) -> int:
    client = fleet.redis.client
    return sum(client.llen(key) for key in client.keys(f"{fleet.settings.broker_prefix}{queue}*"))


GARBAGE = {
    "empty": "",
    "not JSON": "this is not JSON",
    "a number": "7",
    "a list": "[1, 2]",
    "no headers": '{"body": "e30="}',
    "properties of a wrong type": '{"body": "e30=", "headers": 3, "properties": "x"}',
    "no delivery info": '{"body": "W10=", "headers": {"task": "ferryman.run_link", "id": "a"},'
    ' "properties": {}, "content-type": "application/json", "content-encoding": "utf-8"}',
    "1 MB": "x" * (1 << 20),
}


def test_garbage_in_the_queue_harms_nobody(broken: Fleet) -> None:
    worker = broken.worker("-c", "1")
    key = f"{broken.settings.broker_prefix}default"
    for text in GARBAGE.values():
        broken.redis.client.lpush(key, text)
    _send(broken, ["no such task", 1, 1, 0], ["x", "y", "z", "w"], [None, [], {}, 3], [1], [])
    ids = broken.submit(WORK, 2)
    completed_once(broken, ids, 90, "done")
    wait_until(lambda: _messages(broken, "default") == 0, 60, 0.1)
    assert worker.process.poll() is None, worker.said()


def _send(fleet: Fleet, *arguments: list[object]) -> None:
    from engine.dispatch.app import RUN_LINK, build_app

    app = build_app(fleet.settings)
    for args in arguments:
        app.send_task(RUN_LINK, args=args, queue="default")
    app.send_task("no.such.task", args=[1], queue="default")
    app.close()


@pytest.mark.long
def test_work_survives_a_postgresql_that_is_stopped(on_postgres: Fleet, postgres_server: Postgres) -> None:
    ids = _busy(on_postgres)
    postgres_server.stop()
    _lasting(6)
    postgres_server.start()
    _until_it_answers(on_postgres)
    completed_once(on_postgres, ids, 90, "done")


def _until_it_answers(fleet: Fleet) -> None:
    from engine.errors import StoreUnavailable

    def answers() -> bool:
        try:
            return bool(fleet.nodes())
        except StoreUnavailable:
            return False

    wait_until(answers, 30)
