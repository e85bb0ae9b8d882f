"""Wake-up of the flusher by a commit, and the order in which queues are served."""

from __future__ import annotations

import threading
import time

import pytest

from engine.dispatch import wakeup
from engine.dispatch.app import broker_priority, build_app, publisher_options
from engine.dispatch.queue_order import OwnQueueFirst
from engine.settings import BrokerSettings


@pytest.fixture(autouse=True)
def nothing_due() -> None:
    """Drop the wake-ups of other tests, which submit without a flusher."""
    wakeup._due.clear()


def test_what_is_due_is_taken_at_once_and_once() -> None:
    wakeup.wake("a", "b")
    assert wakeup.wait(5) == ["a", "b"]
    assert wakeup.wait(0) == []


def test_a_wait_ends_when_nothing_comes() -> None:
    began = time.monotonic()
    assert wakeup.wait(0.05) == []
    assert 0.04 < time.monotonic() - began < 2


def test_a_poke_wakes_a_waiter() -> None:
    found: list[str] = []
    waiter = threading.Thread(target=lambda: found.extend(wakeup.wait(20)))
    waiter.start()
    wakeup.wake("a")
    waiter.join(10)
    assert found == ["a"]


def test_a_delayed_poke_is_due_later_and_not_before() -> None:
    began = time.monotonic()
    wakeup.wake("late", delay_seconds=0.2)
    wakeup.wake("now")
    assert wakeup.wait(5) == ["now"]
    assert wakeup.wait(5) == ["late"]
    assert time.monotonic() - began >= 0.2


def test_a_wait_shorter_than_the_delay_leaves_it() -> None:
    wakeup.wake("late", delay_seconds=60)
    assert wakeup.wait(0.02) == []
    assert [name for _, name in wakeup._due] == ["late"]


def test_an_earlier_poke_overtakes_a_delayed_one_under_a_waiter() -> None:
    wakeup.wake("late", delay_seconds=60)
    found: list[str] = []
    waiter = threading.Thread(target=lambda: found.extend(wakeup.wait(20)))
    waiter.start()
    wakeup.wake("now")
    waiter.join(10)
    assert found == ["now"]


def test_the_own_queue_comes_first_and_the_others_in_turn() -> None:
    order = OwnQueueFirst()
    order.update(["a", "!n1", "b"])
    assert order.consume(3) == ["!n1", "a", "b"]
    order.rotate("a")
    assert order.consume(3) == ["!n1", "b", "a"]
    order.rotate("!n1")
    assert order.consume(3) == ["!n1", "b", "a"]
    assert order.consume(2) == ["b", "a"]


def test_no_queue_starves_whichever_is_served() -> None:
    order = OwnQueueFirst(["a", "b", "c"])
    served = []
    for _ in range(6):
        served.append(order.rotate(order.consume(3)[0]))
    assert served == ["a", "b", "c", "a", "b", "c"]


def test_a_queue_that_is_gone_is_not_rotated() -> None:
    order = OwnQueueFirst(["a"])
    assert order.rotate("gone") == "gone"
    assert order.consume(1) == ["a"]


def test_nine_is_the_highest_priority() -> None:
    assert [broker_priority(n) for n in (9, 5, 0)] == [0, 4, 9]


def test_the_app_opens_nothing_and_keeps_late_acks_without_a_backend() -> None:
    app = build_app(BrokerSettings(broker_url="redis://127.0.0.1:1/0", broker_prefix="p:"))
    conf = app.conf
    assert conf.task_acks_late and conf.task_ignore_result and conf.worker_prefetch_multiplier == 1
    assert conf.result_backend is None
    assert conf.broker_transport_options["global_keyprefix"] == "p:"
    assert conf.broker_transport_options["visibility_timeout"] == 86400


def test_a_publisher_never_waits_for_long() -> None:
    options = publisher_options(BrokerSettings())
    assert options["socket_timeout"] <= 3 and options["socket_connect_timeout"] <= 1
    assert options["max_retries"] == 0
