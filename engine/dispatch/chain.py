"""Celery chain of a task's links, from its first open one. A message holds ids only: it is a hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.utils import uuid

from engine.dispatch.app import RUN_LINK, broker_priority
from engine.model.records import Task
from engine.wording.text import harmless, shorten


@dataclass(frozen=True)
class Route:
    """Route of a chain: queue and priority of the first link, and the titles of all links."""

    queue: str
    priority: int
    titles: Sequence[str]
    #: Send one link only: an `always` post after a failure, whose end decides what follows.
    alone: bool = False


@dataclass(frozen=True)
class ChainMessage:
    """Message of a chain, with its queue and priority."""

    queue: str
    priority: int
    #: Headers, properties, body and no event, as Celery's `send_task_message` takes them.
    content: Any


def message(app: Celery, task: Task, route: Route, first: int = 0) -> ChainMessage:
    """Return the message of link `first` under the task's token, with the rest of the chain inside.

    Equal to the message of Celery's own chain, which takes a millisecond to copy, freeze and route itself. Later
    links have broker priority 0: started chains go before new ones. The worker that takes the first link pins the
    rest to its own queue.
    """
    last = first + 1 if route.alone else len(route.titles)
    id = uuid()
    content = app.amqp.as_task_v2(
        id,
        RUN_LINK,
        _args(task, first),
        reply_to=app.thread_oid,
        # Celery takes the next link from the end.
        chain=[_later_link(app, task, route, index) for index in reversed(range(first + 1, last))] or None,
        ignore_result=None,
        **_fields_for_people(task, route.titles[first]),
    )
    return ChainMessage(route.queue, route.priority, content)


def _later_link(app: Celery, task: Task, route: Route, index: int) -> dict[str, Any]:
    options = {"queue": route.queue, "priority": 0, "task_id": uuid(), "reply_to": app.thread_oid}
    return {
        "task": RUN_LINK,
        "args": _args(task, index),
        "kwargs": {},
        "options": options | _fields_for_people(task, route.titles[index]),
        "subtask_type": None,
        "immutable": True,
    }


def _args(task: Task, index: int) -> list[Any]:
    return [task.id, task.attempt, task.delivery, index]


def _fields_for_people(task: Task, link_name: str) -> dict[str, str]:
    # For Celery's logs, events and Flower; never `shadow`: a metric label per task.
    name, link = (shorten(harmless(text, instead="?")) for text in (task.name, link_name))
    return {"argsrepr": f"({name}, {link}, {task.id[:8]})", "kwargsrepr": "{}"}


def new_route(task: Task, titles: Sequence[str]) -> Route:
    """Return the route of a task that nobody has claimed: its queue, at its priority."""
    return Route(task.queue, broker_priority(task.priority), titles)


def started_route(node_queue: str, titles: Sequence[str], *, alone: bool = False) -> Route:
    """Return the route of a started chain: its node's queue, before all new chains."""
    return Route(node_queue, 0, titles, alone)
