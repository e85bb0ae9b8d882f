"""Messages as sent: ids only, in the right order, and no key of a neighbour on the same Redis is touched."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from celery import Celery, chain
from kombu import Connection

from engine.dispatch.app import RUN_LINK, build_app
from engine.dispatch.chain import Route, started_route
from engine.dispatch.flusher import Flusher, Publisher, link_titles
from engine.dispatch.queues import Broker
from engine.jobspec.task import LinkSpec, TaskSpec
from engine.lifecycle.cancel import cancel
from engine.lifecycle.submit import submit
from engine.model.records import Task
from engine.model.states import TaskState
from tests.support.callers import TESTER
from tests.support.verb_world import World

SEP = "\x06\x16"


def _sent(broker: Any, key: str) -> list[dict[str, Any]]:
    """Return the messages of a list, the next one to be taken first."""
    return [json.loads(text) for text in reversed(broker.lrange(key, 0, -1))]


def _body(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


def _flush(world: World, *task_ids: str) -> int:
    flusher = Flusher(world.db, world.installation.settings.broker)
    try:
        return flusher.flush(list(task_ids))
    finally:
        flusher.publisher.close()


def _secretive(world: World) -> Task:
    """Return a task in which every text except the names is a secret."""
    secret = "s3cr3t"
    spec = TaskSpec(
        name="say hello",
        description=f"{secret}-description",
        main=LinkSpec(
            image=f"{secret}-image", run=f"echo {secret}", env={"TOKEN": secret}, files={"key": secret}
        ),
        pre=(LinkSpec(name="fetch", image=f"{secret}-image", cmd=(secret,)),),
        post=(LinkSpec(name="store", image=f"{secret}-image", workdir=f"/{secret}"),),
        tags=(secret,),
        queue="transcoding",
        priority=7,
        volumes=(f"/{secret}",),
    )
    return world.task(submit(world.installation, TESTER, spec).id)


def test_a_message_carries_ids_and_names_for_people_and_nothing_else(world: World, broker: Any) -> None:
    task = _secretive(world)
    assert _flush(world, task.id) == 1
    (message,) = _sent(broker, f"t:transcoding{SEP}2")
    raw = json.dumps(message) + json.dumps(_body(message))
    assert "s3cr3t" not in raw
    args, kwargs, embed = _body(message)
    assert args == [task.id, 1, 1, 0] and kwargs == {}
    headers = message["headers"]
    assert headers["task"] == RUN_LINK
    assert headers["argsrepr"] == f"(say hello, pre 0 (fetch), {task.id[:8]})"
    assert [link["args"] for link in embed["chain"]] == [[task.id, 1, 1, 2], [task.id, 1, 1, 1]]
    assert {link["options"]["priority"] for link in embed["chain"]} == {0}
    assert {link["options"]["queue"] for link in embed["chain"]} == {"transcoding"}
    # Nothing else was written anywhere in this broker but the message and kombu's binding.
    for key in broker.keys("*"):
        kind = broker.type(key)
        found = broker.smembers(key) if kind == "set" else broker.lrange(key, 0, -1)
        assert all("s3cr3t" not in text for text in found)


def _celerys_own(app: Celery, task: Task, names: list[str], queue: str, priority: int) -> Any:
    """Return the chain as Celery builds it."""
    links = []
    for index, name in enumerate(names):
        link = app.signature(RUN_LINK, args=(task.id, task.attempt, task.delivery, index), immutable=True)
        shown = f"({task.name}, {name}, {task.id[:8]})"
        links.append(
            link.set(queue=queue, priority=0 if index else priority, argsrepr=shown, kwargsrepr="{}")
        )
    return chain(*links, app=app) if len(links) > 1 else links[0]


@pytest.mark.parametrize("names", [["only"], ["fetch", "cook", "serve"]], ids=["one link", "three links"])
def test_a_message_is_word_for_word_what_celerys_own_chain_would_send(
    world: World, broker: Any, names: list[str]
) -> None:
    task = world.submitted(queue="gpu")
    app = build_app(world.installation.settings.broker)
    publisher = Publisher(world.installation.settings.broker, app)
    for _ in range(2):  # the second goes where the queue is declared already
        publisher.send(task, Route("gpu", 4, names))
    with publisher._producing() as producer:
        _celerys_own(app, task, names, "gpu", 4).apply_async(producer=producer, retry=False)
    publisher.close()
    *ours, theirs = [_without_ids(message) for message in _sent(broker, f"t:gpu{SEP}4")]
    assert ours == [theirs, theirs]
    assert len(theirs["body"][2]["chain"] or ()) == len(names) - 1


def _without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with its body decoded, without the fields that are new in every message."""
    args, kwargs, embed = _body(message)
    for link in embed["chain"] or ():
        assert link["options"].pop("task_id")
    headers, properties = message["headers"], message["properties"]
    assert headers.pop("id") == headers.pop("root_id") == properties.pop("correlation_id")
    del properties["delivery_tag"]
    # Celery's own says what the task says, where the process happens to know it. Nobody's results are kept.
    assert headers.pop("ignore_result") in (None, True)
    # Celery leaves its own options among AMQP's properties, where nobody reads them.
    for name in ("argsrepr", "kwargsrepr"):
        properties.pop(name, None)
    return message | {"body": [args, kwargs, embed]}


def test_names_for_people_are_short_and_printable(world: World, broker: Any) -> None:
    task = world.submitted(name="\x1b[31m" + "x" * 200)
    _flush(world, task.id)
    (message,) = _sent(broker, f"t:default{SEP}9")
    shown = message["headers"]["argsrepr"]
    assert shown.isprintable() and len(shown) < 150


def test_a_task_goes_to_its_queue_at_its_priority(world: World, broker: Any) -> None:
    for priority in (0, 5, 9):
        task = world.submitted(queue="gpu", priority=priority)
        _flush(world, task.id)
        key = "t:gpu" + (f"{SEP}{9 - priority}" if priority < 9 else "")
        assert [_body(m)[0][0] for m in _sent(broker, key)] == [task.id]
    assert Broker(world.installation.settings.broker).depth("gpu") == 3


def test_nine_is_served_before_nought_and_a_started_chain_before_both(world: World, broker: Any) -> None:
    app = build_app(world.installation.settings.broker)
    low, high = world.submitted(priority=0), world.submitted(priority=9)
    started = world.claimed(pre=1, priority=0)
    _flush(world, low.id, high.id)
    publisher = Publisher(world.installation.settings.broker, app)
    running = world.task(started.token.task_id)
    publisher.send(running, started_route("!n1", link_titles(running)), 1)
    publisher.close()
    options = dict(app.conf.broker_transport_options) | {"socket_timeout": 3}
    with Connection(world.installation.settings.broker.broker_url, transport_options=options) as connection:
        channel = connection.channel()
        taken = []
        for queue in ("default", "!n1"):
            channel.queue_declare(queue)
            channel.basic_consume(
                queue, False, lambda message: taken.append(message.decode()[0][0]), consumer_tag=queue
            )
        channel.qos.prefetch_count = 10
        for _ in range(3):
            connection.drain_events(timeout=5)
    assert taken == [running.id, high.id, low.id]


def test_a_flush_marks_what_it_sent_and_says_so(world: World, broker: Any) -> None:
    task = world.submitted()
    assert _flush(world, task.id) == 1
    after = world.task(task.id)
    assert (after.state, after.sends) == (TaskState.SCHEDULED, 1) and after.sent_at
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state) == ("task", "PENDING", "SCHEDULED")
    assert _flush(world, task.id) == 0


def test_a_flush_leaves_what_is_not_due_and_what_others_just_committed(world: World, broker: Any) -> None:
    fresh, later, old = world.submitted(), world.submitted(), world.submitted()
    world.set(later.id, not_before=world.now + 60_000)
    world.set(old.id, not_before=world.now - 1_500)
    flusher = Flusher(world.db, world.installation.settings.broker)
    assert flusher.flush() == 1
    assert world.task(old.id).state is TaskState.SCHEDULED
    assert world.task(fresh.id).state is world.task(later.id).state is TaskState.PENDING
    assert flusher.flush([later.id, fresh.id, "0" * 32]) == 1
    assert world.task(later.id).state is TaskState.PENDING
    flusher.publisher.close()


def test_a_task_that_was_cancelled_while_it_was_sent_stays_cancelled(world: World, broker: Any) -> None:
    task = world.submitted()
    flusher = Flusher(world.db, world.installation.settings.broker)
    send = flusher.publisher.send

    def slowly(*args: Any) -> None:
        send(*args)
        cancel(world.installation, TESTER, task.id)

    flusher.publisher.send = slowly  # type: ignore[method-assign]
    flusher.flush([task.id])
    flusher.publisher.close()
    assert world.task(task.id).state is TaskState.CANCELLED


def test_a_foreign_celery_on_the_same_redis_keeps_its_messages(world: World, broker: Any) -> None:
    foreign = Celery("other", broker=world.installation.settings.broker.broker_url, set_as_current=False)
    foreign.conf.task_default_queue = "default"
    for n in range(3):
        foreign.send_task("their.task", args=[n])
    before = broker.lrange("default", 0, -1)
    assert len(before) == 3
    theirs = set(broker.keys("*"))
    task = world.submitted()
    _flush(world, task.id)
    ours = Broker(world.installation.settings.broker)
    ours.claim_for(world.installation.id)
    assert ours.depth("default") == 1
    ours.drop("default")
    assert ours.depth("default") == 0
    ours.close()
    assert broker.lrange("default", 0, -1) == before
    # All that is ours begins with the prefix.
    assert {key for key in broker.keys("*") if not key.startswith("t:")} == theirs
