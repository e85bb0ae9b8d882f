"""Faults of the broker: another installation's, emptied, hung or gone; and a flusher that dies between its steps."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.cli.doctor import check_broker
from engine.dispatch import wakeup
from engine.dispatch.flusher import Flusher, Publisher, link_titles, new_route
from engine.dispatch.queues import Broker, ping
from engine.errors import BrokerUnavailable, WrongInstallation
from engine.lifecycle.claim import claim
from engine.lifecycle.resend import resend
from engine.model.states import TaskState
from engine.reconcile.messages import LostMessages
from engine.settings.run_file import RunFile
from tests.support.callers import TESTER, by
from tests.support.databases import free_port
from tests.support.redis_server import RedisServer
from tests.support.verb_world import World
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]

FLUSH = """
import sys
from engine.dispatch.flusher import Flusher
from engine.settings import Settings
from engine.store.database import Database
settings = Settings.from_env()
Flusher(Database(settings.store), settings.broker).flush(sys.argv[1:])
"""


@pytest.fixture
def hung(server: RedisServer) -> Iterator[RedisServer]:
    """Stop the server: it accepts connections and answers nothing."""
    server.signal(signal.SIGSTOP)
    yield server
    server.signal(signal.SIGCONT)


def _flush_elsewhere(world: World, failpoint: str, *task_ids: str) -> int:
    env = os.environ | world.installation.settings.environment() | {"FERRYMAN_FAILPOINT": failpoint}
    done = subprocess.run(
        [sys.executable, "-c", FLUSH, *task_ids], env=env, cwd=ROOT, timeout=60, check=False
    )
    return done.returncode


def _seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        call()
    return time.monotonic() - began


# Crash points


def test_a_flusher_that_dies_after_it_sent_leaves_the_row_to_be_sent_again(world: World, broker: Any) -> None:
    task = world.submitted()
    assert _flush_elsewhere(world, "flush.published", task.id) == -signal.SIGKILL
    assert world.task(task.id).state is TaskState.PENDING
    ours = Broker(world.installation.settings.broker)
    assert ours.depth("default") == 1
    assert _flush_elsewhere(world, "", task.id) == 0
    assert world.task(task.id).state is TaskState.SCHEDULED
    # The copy does no harm: the claim takes the row once.
    assert ours.depth("default") == 2
    ours.close()
    world.live()
    assert claim(world.installation, by("n1"), task.token) is not None
    assert claim(world.installation, by("n1"), task.token) is None


def test_a_flusher_that_dies_before_it_sent_leaves_the_row_as_it_was(world: World, broker: Any) -> None:
    task = world.submitted()
    assert _flush_elsewhere(world, "flush.read", task.id) == -signal.SIGKILL
    assert world.task(task.id).state is TaskState.PENDING
    assert Broker(world.installation.settings.broker).depth("default") == 0


# Whose broker


def test_the_first_to_come_marks_the_broker_and_others_see_it(world: World, broker: Any) -> None:
    ours = Broker(world.installation.settings.broker)
    assert ours.claim_for("i1") is True
    assert ours.claim_for("i1") is False
    with pytest.raises(WrongInstallation, match=r"i1.*i2"):
        ours.claim_for("i2")
    beside = Broker(world.installation.settings.replace(broker_prefix="other:").broker)
    assert beside.claim_for("i2") is True


# An emptied broker


def test_after_an_emptied_broker_all_that_was_sent_is_sent_again(world: World, broker: Any) -> None:
    world.live()
    sent = [world.submitted() for _ in range(5)]
    flusher = Flusher(world.db, world.installation.settings.broker)
    assert flusher.flush([task.id for task in sent]) == 5
    deliveries = LostMessages(world.installation, TESTER)
    assert deliveries.run() == 5, "a new broker holds nothing of ours"
    assert flusher.flush([task.id for task in sent]) == 5
    assert deliveries.run() == 0
    claimed = claim(world.installation, by("n1"), sent[0].token)
    assert claimed is not None
    broker.flushall()
    assert deliveries.run() == 4
    states = [world.task(task.id).state for task in sent]
    assert states == [TaskState.RUNNING] + [TaskState.PENDING] * 4
    assert flusher.flush([task.id for task in sent]) == 4
    assert Broker(world.installation.settings.broker).depth("default") == 4
    assert deliveries.run() == 0
    flusher.publisher.close()


@pytest.mark.timeout(30)
def test_a_backlog_is_sent_again_once_although_the_flusher_is_at_work(
    world: World, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [world.submitted().id for _ in range(6)]
    flusher = Flusher(world.db, world.installation.settings.broker)
    assert flusher.flush(sent) == 6
    deliveries = LostMessages(world.installation, TESTER)

    def resend_and_flush(installation: Any, caller: Any, found: Any, why: str, *, counts: bool) -> int:
        done = resend(installation, caller, found, why, counts=counts)
        moment = world.now
        wait_until(lambda: world.now > moment + 1, 2)
        flusher.flush(sent)
        return done

    monkeypatch.setattr("engine.reconcile.messages._BATCH", 2)
    monkeypatch.setattr("engine.reconcile.messages.resend", resend_and_flush)
    assert deliveries.run() == 6
    flusher.publisher.close()


# Single lost messages


def test_a_message_that_was_overtaken_for_long_is_sent_again(world: World, broker: Any) -> None:
    world = world.with_settings(resend_seconds=0.2)
    world.live()
    deliveries = LostMessages(world.installation, TESTER)
    deliveries.run()
    lost, later = world.scheduled(), world.scheduled()
    world.set(lost.id, sent_at=world.now - 5_000)
    assert claim(world.installation, by("n1"), later.token) is not None
    assert deliveries.run() == 1
    assert world.task(lost.id).state is TaskState.PENDING


def test_a_message_missing_from_an_empty_queue_that_is_served_is_sent_again(
    world: World, broker: Any
) -> None:
    world = world.with_settings(resend_seconds=0.2, lease_seconds=0.5)
    world.live()
    deliveries = LostMessages(world.installation, TESTER)
    deliveries.run()
    lost = world.scheduled()
    world.set(lost.id, sent_at=world.now - 5_000)
    assert deliveries.run() == 0, "one look at an empty queue proves nothing"
    wait_until(deliveries.run, 5)
    assert world.task(lost.id).state is TaskState.PENDING


def test_a_message_that_waits_in_its_queue_is_left_there(world: World, broker: Any) -> None:
    world = world.with_settings(resend_seconds=0.2, lease_seconds=0.5)
    world.live()
    deliveries = LostMessages(world.installation, TESTER)
    deliveries.run()
    task = world.submitted()
    flusher = Flusher(world.db, world.installation.settings.broker)
    flusher.flush([task.id])
    flusher.publisher.close()
    world.set(task.id, sent_at=world.now - 60_000)
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        assert deliveries.run() == 0


def test_a_queue_that_nobody_serves_has_nothing_to_send_again(world: World, broker: Any) -> None:
    world = world.with_settings(resend_seconds=0.2, lease_seconds=0.5)
    deliveries = LostMessages(world.installation, TESTER)
    deliveries.run()
    task = world.scheduled(queue="gpu")
    world.set(task.id, sent_at=world.now - 60_000)
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        assert deliveries.run() == 0


# A broker that hangs, one that is gone


def test_publishing_to_a_hung_broker_ends_in_seconds(world: World, broker: Any, hung: RedisServer) -> None:
    task = world.submitted()
    publisher = Publisher(world.installation.settings.broker)
    assert _seconds(lambda: publisher.send(task, new_route(task, link_titles(task)))) < 6
    publisher.close()


def test_publishing_over_an_open_connection_that_hangs_ends_in_seconds(
    world: World, broker: Any, server: RedisServer
) -> None:
    task = world.submitted()
    publisher = Publisher(world.installation.settings.broker)
    publisher.send(task, new_route(task, link_titles(task)))
    server.signal(signal.SIGSTOP)
    try:
        assert _seconds(lambda: publisher.send(task, new_route(task, link_titles(task)))) < 6
    finally:
        server.signal(signal.SIGCONT)
    publisher.send(task, new_route(task, link_titles(task)))
    publisher.close()


def test_asking_a_hung_broker_ends_in_seconds(world: World, broker: Any, hung: RedisServer) -> None:
    ours = Broker(world.installation.settings.broker)
    for call in (lambda: ours.claim_for("i"), lambda: ours.depth("q"), lambda: ours.drop("q"), ours.describe):
        assert _seconds(call) < 6
    ours.close()


def test_a_broker_that_is_gone_is_said_at_once_and_without_its_password(world: World, broker: Any) -> None:
    gone = world.installation.settings.replace(broker_url=f"redis://:pa55word@127.0.0.1:{free_port()}/0")
    task = world.submitted()
    publisher = Publisher(gone.broker)
    with pytest.raises(BrokerUnavailable) as caught:
        publisher.send(task, new_route(task, link_titles(task)))
    with pytest.raises(BrokerUnavailable) as asked:
        ping(gone.broker)
    for said in (str(caught.value), str(asked.value)):
        assert "pa55word" not in said
    assert _seconds(lambda: ping(gone.broker)) < 3


def test_a_reconciler_without_a_broker_repairs_nothing_and_goes_on(
    world: World, broker: Any, server: RedisServer
) -> None:
    world = world.with_settings(resend_seconds=0.2)
    task = world.scheduled()
    deliveries = LostMessages(world.installation, TESTER)
    server.signal(signal.SIGSTOP)
    try:
        assert deliveries.run() == 0
    finally:
        server.signal(signal.SIGCONT)
    assert deliveries.run() == 1, "it is back and holds no marker of ours"
    assert world.task(task.id).state is TaskState.PENDING


def test_a_flusher_sends_at_once_and_goes_on_after_its_broker_was_killed(
    world: World, broker: Any, server: RedisServer
) -> None:
    wakeup._due.clear()
    flusher = Flusher(world.db, world.installation.settings.broker).start()
    try:
        first = world.submitted()
        wait_until(lambda: world.task(first.id).state is TaskState.SCHEDULED, 10)
        server.kill()
        second = world.submitted()
        wait_until(lambda: flusher._backoff > 0, 10)
        assert world.task(second.id).state is TaskState.PENDING
        server.start()
        wait_until(lambda: world.task(second.id).state is TaskState.SCHEDULED, 20)
    finally:
        flusher.stop()


def test_a_retry_is_sent_when_it_is_due_and_not_before(world: World, broker: Any) -> None:
    task = world.submitted()
    world.set(task.id, not_before=world.now + 700)
    wakeup._due.clear()
    flusher = Flusher(world.db, world.installation.settings.broker).start()
    try:
        wakeup.wake(task.id, delay_seconds=0.7)
        wait_until(lambda: world.task(task.id).state is TaskState.SCHEDULED, 10)
        after = world.task(task.id)
        assert after.sent_at is not None and after.sent_at >= after.not_before
    finally:
        flusher.stop()


def test_a_stand_alones_broker_is_followed_to_its_new_address(
    world: World, broker: Any, server: RedisServer, tmp_path: Path
) -> None:
    settings = world.installation.settings
    run_file = RunFile(tmp_path / "run.json", settings.store.database_url)
    gone = f"redis://:pa55word@127.0.0.1:{free_port()}/0"
    followed = dataclasses.replace(settings.replace(broker_url=gone).broker, run_file=run_file)
    task = world.submitted()
    ours, flusher = Broker(followed), Flusher(world.db, followed)
    with pytest.raises(BrokerUnavailable):
        flusher.flush([task.id])
    with pytest.raises(BrokerUnavailable):
        ours.claim_for("i")
    content = {"database_url": settings.store.database_url, "broker_url": server.url}
    run_file.path.write_text(json.dumps(content))
    run_file.path.chmod(0o600)
    assert flusher.flush([task.id]) == 1
    with pytest.raises(BrokerUnavailable, match=f"the broker is at {server.url} now") as caught:
        ours.claim_for("i")
    assert "pa55word" not in str(caught.value)
    assert ours.claim_for("i") is True
    ours.close()


# A broker that removes keys


@pytest.fixture
def full(server: RedisServer, broker: Any) -> Iterator[Any]:
    """Yield a client of a server with little memory, which removes keys when it is full."""
    used = int(broker.info("memory")["used_memory"])
    broker.config_set("maxmemory-policy", "allkeys-random")
    broker.config_set("maxmemory", used + (1 << 20))
    yield broker
    broker.config_set("maxmemory", 0)
    broker.config_set("maxmemory-policy", "noeviction")


def _fill(client: Any) -> None:
    """Write until the server has removed the key that tells an emptied broker, or refuses."""
    for number in range(20_000):
        client.set(f"filler:{number % 400}:{number}", "x" * 10_000)
        if not client.exists("t:installation"):
            return
    raise AssertionError("the server removed nothing")


def test_messages_that_the_broker_removes_do_not_count_and_its_policy_is_named(
    world: World, full: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.live()
    task = world.submitted()
    flusher, lost = (
        Flusher(world.db, world.installation.settings.broker),
        LostMessages(world.installation, TESTER),
    )
    lost.run()
    for _ in range(6):
        flusher.flush([task.id])
        assert (world.task(task.id).state, world.task(task.id).sends) == (TaskState.SCHEDULED, 1)
        _fill(full)
        assert lost.run() == 1
    assert world.task(task.id).sends == 0
    lines = [record.message for record in caplog.records if "maxmemory-policy" in record.message]
    assert len(lines) == 1, "at most once a minute"
    assert (
        "the broker was emptied" in lines[0]
        and "(maxmemory-policy allkeys-random): set noeviction" in lines[0]
    )


def test_a_message_that_seems_lost_counts_unless_the_broker_removes_messages(
    world: World, broker: Any, request: pytest.FixtureRequest
) -> None:
    world = world.with_settings(resend_seconds=0.2, lease_seconds=0.5)
    world.live()
    task = world.submitted()
    flusher, lost = (
        Flusher(world.db, world.installation.settings.broker),
        LostMessages(world.installation, TESTER),
    )
    lost.run()
    for sends in (1, 2):
        flusher.flush([task.id])
        assert world.task(task.id).sends == sends
        Broker(world.installation.settings.broker).drop("default")
        wait_until(lambda: lost.run() == 1, 10, 0.05)
    request.getfixturevalue("full")
    flusher.flush([task.id])
    assert world.task(task.id).sends == 3
    Broker(world.installation.settings.broker).drop("default")
    wait_until(lambda: lost.run() == 1, 10, 0.05)
    assert world.task(task.id).sends == 2


def test_doctor_names_the_policy_and_the_remedy(world: World, full: Any) -> None:
    ok, warning = check_broker(world.installation.settings.broker)
    assert (ok.status, warning.status) == ("ok", "warn")
    assert "maxmemory-policy allkeys-random" in warning.message
    assert "redis-cli config set maxmemory-policy noeviction" in warning.remedy
    full.config_set("maxmemory-policy", "noeviction")
    assert [finding.status for finding in check_broker(world.installation.settings.broker)] == ["ok"]


def test_a_policy_for_keys_that_expire_removes_no_message(world: World, broker: Any, full: Any) -> None:
    full.config_set("maxmemory-policy", "volatile-lru")
    task = world.submitted()
    Flusher(world.db, world.installation.settings.broker).flush([task.id])
    ours = Broker(world.installation.settings.broker)
    ours.claim_for("i")
    assert ours.eviction() == ""
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        _fill(full)
    assert ours.depth("default") == 1
    assert full.exists("t:installation")
    ours.close()
