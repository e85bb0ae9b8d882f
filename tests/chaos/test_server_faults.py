"""A broker that stops, hangs, is emptied, fills up, holds garbage or lies, and a PostgreSQL that stops, under work."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dispatch.app import RUN_LINK, build_app
from engine.errors import StoreUnavailable
from engine.model.states import LinkState, TaskState
from tests.support.databases import Postgres
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import DEFAULTS, Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.server_faults import WORK, busy, completed_once, empty, lasting, messages
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

CHAIN = """
name: chain
image: busybox:1.36
volumes: [/data]
run: sleep 1; cat /data/pre > $FERRYMAN_OUTPUT
pre:
  - {name: write, image: "busybox:1.36", run: "sleep 1; echo -n kept >> /data/pre"}
post:
  - {name: check, image: "busybox:1.36", run: "cat /data/pre"}
"""
QUICK_AND_PRODUCTION = pytest.mark.parametrize(
    "redis_fleet", [{}, DEFAULTS], ids=["quick", "production"], indirect=True
)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis that this test alone may break."""
    require_docker(BUSYBOX)
    server = RedisServer(tmp_path / "redis")
    yield server
    server.signal(signal.SIGCONT)
    server.stop()


@pytest.fixture
def redis_fleet(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path, own_redis: RedisServer
) -> Iterator[Fleet]:
    """Start a fleet on SQLite over the Redis that will be broken; the parameter has further settings."""
    with running_fleet(tmp_path, sqlite_url, own_redis, **getattr(request, "param", {})) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("seconds", [5, 30])
@QUICK_AND_PRODUCTION
def test_work_survives_a_redis_that_is_away(redis_fleet: Fleet, seconds: float) -> None:
    ids = busy(redis_fleet)
    redis_fleet.redis.stop()
    ids += redis_fleet.submit(WORK)
    lasting(seconds)
    redis_fleet.redis.start()
    completed_once(redis_fleet, ids, 90, "done")


@pytest.mark.long
@QUICK_AND_PRODUCTION
def test_work_survives_a_redis_that_comes_back_empty(redis_fleet: Fleet) -> None:
    ids = busy(redis_fleet)
    empty(redis_fleet.redis)
    completed_once(redis_fleet, ids, 90, "done")


@pytest.mark.long
@pytest.mark.parametrize("seconds", [8, 30])
@QUICK_AND_PRODUCTION
def test_work_survives_a_redis_that_hangs(redis_fleet: Fleet, seconds: float) -> None:
    ids = busy(redis_fleet)
    redis_fleet.redis.signal(signal.SIGSTOP)
    ids += redis_fleet.submit(WORK)
    lasting(seconds)
    redis_fleet.redis.signal(signal.SIGCONT)
    completed_once(redis_fleet, ids, 90, "done")


@pytest.mark.long
@QUICK_AND_PRODUCTION
def test_work_survives_a_redis_that_is_full(redis_fleet: Fleet) -> None:
    ids = busy(redis_fleet)
    client = redis_fleet.redis.client
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1mb")
    refused = redis_fleet.submit(WORK, 2)
    lasting(5)
    assert {redis_fleet.task(id).state for id in refused} == {TaskState.PENDING}, "accepted, not sent"
    client.config_set("maxmemory", "0")
    completed_once(redis_fleet, ids + refused, 90, "done")


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


def test_garbage_in_the_queue_harms_nobody(redis_fleet: Fleet) -> None:
    worker = redis_fleet.worker("-c", "1")
    key = f"{redis_fleet.settings.broker.broker_prefix}default"
    for text in GARBAGE.values():
        redis_fleet.redis.client.lpush(key, text)
    nonsense: list[list[object]] = [
        ["no such task", 1, 1, 0], ["x", "y", "z", "w"], [None, [], {}, 3], [1], [],
    ]  # fmt: skip
    _send(redis_fleet, "default", nonsense)
    app = build_app(redis_fleet.settings.broker)
    app.send_task("no.such.task", args=[1], queue="default")
    app.close()
    ids = redis_fleet.submit(WORK, 2)
    completed_once(redis_fleet, ids, 90, "done")
    wait_until(lambda: messages(redis_fleet, "default") == 0, 60, 0.1)
    assert worker.process.poll() is None, worker.output()


def _send(fleet: Fleet, queue: str, arguments: list[list[object]]) -> None:
    app = build_app(fleet.settings.broker)
    for args in arguments:
        app.send_task(RUN_LINK, args=args, queue=queue)
    app.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
@QUICK_AND_PRODUCTION
def test_copies_and_messages_out_of_order_start_nothing(redis_fleet: Fleet, seed: int) -> None:
    ids = redis_fleet.submit(CHAIN, 3)
    redis_fleet.worker("-c", "2")
    wait_until(lambda: any(redis_fleet.task(id).state is TaskState.RUNNING for id in ids), 30)
    (node,) = [node.id for node in redis_fleet.nodes()]
    # Each link of each task is sent ten times, to the node and to its queue, even if its turn has not come.
    every: list[list[object]] = [
        [id, 1, delivery, n] for id in ids for n in range(3) for delivery in (1, 2)
    ] * 5
    random.Random(seed).shuffle(every)
    _send(redis_fleet, "default", every)
    _send(redis_fleet, f"!{node}", every)
    completed_once(redis_fleet, ids, 120, "kept")
    for id in ids:
        assert [link.state for link in redis_fleet.links(id)] == [LinkState.ENDED] * 3, redis_fleet.story(id)
        assert len({link.container_id for link in redis_fleet.links(id)}) == 3
        confirmed = [
            e for e in redis_fleet.events(id) if e.kind == "link" and e.to_state == LinkState.CONFIRMED
        ]
        assert len(confirmed) == 3, redis_fleet.story(id)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [6, 30])
def test_work_survives_a_postgresql_that_is_stopped(
    on_postgres: Fleet, postgres_server: Postgres, seconds: float
) -> None:
    ids = busy(on_postgres)
    postgres_server.stop()
    lasting(seconds)
    postgres_server.start()
    wait_until(lambda: _answers(on_postgres), 30)
    completed_once(on_postgres, ids, 120, "done")


def _answers(fleet: Fleet) -> bool:
    try:
        return bool(fleet.nodes())
    except StoreUnavailable:
        return False
