"""A task -> the Celery chain of its links, from its first unfinished one. Ids only: a message is a hint."""

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
class Way:
    """Where a chain goes: the first link's queue and priority, and how many links there are."""

    queue: str
    priority: int
    names: Sequence[str]
    #: Only the first link: an `always` post after a failure, whose end decides what follows.
    alone: bool = False


@dataclass(frozen=True)
class Message:
    """What is published, and where it goes."""

    queue: str
    priority: int
    #: As Celery's `send_task_message` takes it: headers, properties, body, no event.
    made: Any


def message(app: Celery, task: Task, way: Way, first: int = 0) -> Message:
    """The message of link `first` of this attempt and delivery, with the rest of its chain inside.

    Word for word what Celery's own chain would send, which takes a millisecond to copy, freeze and route itself.
    Later links carry broker priority 0: started chains go before new ones. The worker that takes the first pins
    the rest to its own queue.
    """
    last = first + 1 if way.alone else len(way.names)
    id = uuid()
    made = app.amqp.as_task_v2(
        id,
        RUN_LINK,
        _args(task, first),
        reply_to=app.thread_oid,
        # Celery takes the next from the end.
        chain=[_later(app, task, way, index) for index in reversed(range(first + 1, last))] or None,
        ignore_result=None,
        **_shown(task, way.names[first]),
    )
    return Message(way.queue, way.priority, made)


def _later(app: Celery, task: Task, way: Way, index: int) -> dict[str, Any]:
    options = {"queue": way.queue, "priority": 0, "task_id": uuid(), "reply_to": app.thread_oid}
    return {
        "task": RUN_LINK,
        "args": _args(task, index),
        "kwargs": {},
        "options": options | _shown(task, way.names[index]),
        "subtask_type": None,
        "immutable": True,
    }


def _args(task: Task, index: int) -> list[Any]:
    return [task.id, task.attempt, task.delivery, index]


def _shown(task: Task, link_name: str) -> dict[str, str]:
    # For Celery's logs, events and Flower; never `shadow`: a metric label per task.
    name, link = (shorten(harmless(text, instead="?")) for text in (task.name, link_name))
    return {"argsrepr": f"({name}, {link}, {task.id[:8]})", "kwargsrepr": "{}"}


def first_way(task: Task, names: Sequence[str]) -> Way:
    """The way of a task that nobody has claimed: its queue, at its priority."""
    return Way(task.queue, broker_priority(task.priority), names)


def later_way(node_queue: str, names: Sequence[str], *, alone: bool = False) -> Way:
    """The way of a started chain: its node's queue, before all new ones."""
    return Way(node_queue, 0, names, alone)
