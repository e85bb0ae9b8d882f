"""Celery's own tools on a Ferryman worker: each works, or does no harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from celery import Celery

from engine.lifecycle.cancel import cancel
from engine.model.states import TaskState
from tests.support.callers import TESTER
from tests.support.databases import free_port
from tests.support.fleet import ROOT, Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello]\n"


def test_status_and_inspect_show_names(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1")
    (id,) = fleet.submit("name: encode the film\nimage: busybox:1.36\ncmd: [sleep, '60']\n")
    wait_until(lambda: fleet.task(id).state is TaskState.RUNNING, 20)
    assert f"{worker.name}: OK" in fleet.celery("status")
    active = json.loads(fleet.celery("inspect", "active", "--json"))[worker.name]
    assert [task["name"] for task in active] == ["ferryman.run_link"]
    assert active[0]["args"] == [id, 1, 1, 0], "ids only"
    mine = json.loads(fleet.celery("inspect", "ferryman", "--json"))[worker.name]
    assert (mine["running"], mine["live"], mine["slots"]) == ([id], True, 1)
    cancel(fleet.installation, TESTER, id)
    wait_until(lambda: not fleet.left_over(), 20)


def test_purge_does_no_harm(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    ids = fleet.submit(HELLO, 3)
    wait_until(lambda: all(fleet.task(id).state is TaskState.SCHEDULED for id in ids), 10)
    assert "Purged 3 messages" in fleet.celery("purge", "-f")
    fleet.worker("-c", "2")
    assert {task.state for task in fleet.ended(ids, 40)} == {TaskState.COMPLETED}


def test_revoke_does_no_harm(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "1")
    (blocking,) = fleet.submit("name: block\nimage: busybox:1.36\ncmd: [sleep, '3']\n")
    wait_until(lambda: fleet.task(blocking).state is TaskState.RUNNING, 20)
    (id,) = fleet.submit(HELLO)
    keys = wait_until(lambda: fleet.redis.client.keys(f"{fleet.settings.broker.broker_prefix}default*9"), 10)
    message = json.loads(fleet.redis.client.lrange(keys[0], 0, -1)[0])
    fleet.celery("control", "revoke", message["headers"]["id"])
    (task,) = fleet.ended([id], 40)
    assert (task.state, task.result) == (TaskState.COMPLETED, "hello")


def test_a_queue_can_be_added_to_a_running_worker_and_taken_away(sqlite_fleet: Fleet) -> None:
    fleet, extra = sqlite_fleet, HELLO + "queue: extra\n"
    fleet.worker("-c", "1")
    assert "OK" in fleet.celery("control", "add_consumer", "extra")
    (done,) = fleet.ended(fleet.submit(extra), 20)
    assert done.state is TaskState.COMPLETED
    assert "OK" in fleet.celery("control", "cancel_consumer", "extra")
    # What ends the question that still names the queue; the next one does not.
    fleet.ended(fleet.submit(HELLO), 20)
    (waiting,) = fleet.submit(extra)
    fleet.ended(fleet.submit(HELLO), 20)
    assert fleet.task(waiting).state is TaskState.SCHEDULED


def test_flower_shows_the_worker_and_readable_arguments(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1")
    port = free_port()
    flower = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "engine", "flower", f"--port={port}", "--address=127.0.0.1"],
        cwd=ROOT,
        env={**os.environ, **fleet.settings.environment(), "FLOWER_UNAUTHENTICATED_API": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def tasks() -> dict[str, dict[str, str]]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/tasks", timeout=2) as answer:
                    return dict(json.load(answer))
            except OSError:
                return {}

        def seen() -> list[dict[str, str]]:
            fleet.ended(fleet.submit(HELLO), 20)
            # Of a task that was received before Flower listened it knows no name.
            return [task for task in tasks().values() if task["state"] == "SUCCESS" and task["name"]]

        task = wait_until(seen, 40, 0.5)[0]
        assert task["name"] == "ferryman.run_link"
        assert task["args"].startswith("(say hello, main, ")
        assert task["worker"] == worker.name
    finally:
        flower.terminate()
        flower.wait(10)


def test_a_worker_with_another_installations_database_takes_nothing(
    sqlite_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fleet = sqlite_fleet
    (id,) = fleet.submit(HELLO)
    wait_until(lambda: fleet.task(id).state is TaskState.SCHEDULED, 10)
    fleet.worker("-c", "1", "-Q", "other")  # it writes the broker's installation
    stranger = tmp_path_factory.mktemp("stranger")
    began = time.monotonic()
    worker = fleet.worker(
        "-c",
        "1",
        wait=False,
        FERRYMAN_DATA_DIR=str(stranger),
        FERRYMAN_DATABASE_URL=f"sqlite:///{stranger}/ferryman.db",
    )
    assert worker.process.wait(20) == 78
    # 5 s on a quiet machine, imports included.
    assert time.monotonic() - began < 15
    assert "the broker belongs to installation" in worker.output()
    fleet.worker("-c", "1")
    assert fleet.ended([id], 30)[0].state is TaskState.COMPLETED


def test_a_foreign_app_on_the_same_redis_loses_no_message(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    foreign = Celery("foreign", broker=fleet.redis.url, set_as_current=False)
    for n in range(5):
        foreign.send_task("theirs", args=(n,), queue="default")
    fleet.worker("-c", "2")
    fleet.ended(fleet.submit(HELLO, 3), 30)
    assert fleet.redis.client.llen("default") == 5
    fleet.redis.client.delete("default")


def test_no_pool_thread_is_lost_to_what_a_body_raises(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "1", module="tests.support.planted_worker")
    planted = [fleet.submit(HELLO.replace("say hello", name))[0] for name in ("exit", "memory", "stop") * 2]
    plain = fleet.submit(HELLO, 3)
    ended = fleet.ended(planted + plain, 90)
    assert {task.state for task in ended} == {TaskState.COMPLETED}
    assert {task.crashes for task in ended} == {0}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("times", [6, pytest.param(20, marks=pytest.mark.long)])
def test_a_busy_worker_survives_restarts_of_its_redis(
    times: int, sqlite_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("restarts")
    redis = RedisServer(directory / "redis")
    try:
        with running_fleet(directory, sqlite_url, redis) as fleet:
            worker = fleet.worker("-c", "3")
            ids: list[str] = []
            for n in range(times):
                ids += fleet.submit("name: busy\nimage: busybox:1.36\ncmd: [sleep, '1']\n", 2)
                wait_until(lambda mine=ids: any(fleet.task(id).state is TaskState.RUNNING for id in mine), 30)
                redis.kill() if n % 2 else redis.signal(signal.SIGTERM)
                redis.stop()
                redis.start()
                assert worker.process.poll() is None, worker.output()
            ended = fleet.ended(ids, 90)
            assert {task.state for task in ended} == {TaskState.COMPLETED}
            assert worker.process.poll() is None
            # All three slots still take work.
            more = fleet.submit("name: more\nimage: busybox:1.36\ncmd: [sleep, '2']\n", 3)
            wait_until(lambda: all(fleet.task(id).state is TaskState.RUNNING for id in more), 30)
            fleet.ended(more, 30)
    finally:
        redis.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another account")
def test_a_worker_uses_no_data_directory_of_another_account(
    sqlite_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    foreign = tmp_path_factory.mktemp("foreign")
    os.chown(foreign, 65534, 65534)
    worker = sqlite_fleet.worker("-c", "1", wait=False, FERRYMAN_DATA_DIR=str(foreign))
    assert worker.process.wait(20) == 78
    assert f"{foreign} belongs to nobody, expected root" in worker.output()
    assert not list(foreign.iterdir())
