"""A task -> the Celery chain of its links, from its first unfinished one. Ids only: a message is a hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celery import Celery, chain
from celery.canvas import Signature

from engine.dispatch.app import RUN_LINK, broker_priority
from engine.model.records import Task


@dataclass(frozen=True)
class Way:
    """Where a chain goes: the first link's queue and priority, and how many links there are."""

    queue: str
    priority: int
    names: Sequence[str]
    #: Only the first link: an `always` post after a failure, whose end decides what follows.
    alone: bool = False


def build(app: Celery, task: Task, way: Way, first: int = 0) -> Signature:
    """The chain of links `first` … of this attempt and delivery.

    Later links carry broker priority 0: started chains go before new ones. The worker that takes the first pins
    the rest to its own queue.
    """
    links = []
    for index in range(first, first + 1 if way.alone else len(way.names)):
        started = index > first
        link = app.signature(RUN_LINK, args=(task.id, task.attempt, task.delivery, index), immutable=True)
        link.set(
            queue=way.queue,
            priority=0 if started else way.priority,
            # For Celery's logs, events and Flower; never `shadow`: a metric label per task.
            argsrepr=f"({_short(task.name)}, {_short(way.names[index])}, {task.id[:8]})",
            kwargsrepr="{}",
        )
        links.append(link)
    return chain(*links, app=app) if len(links) > 1 else links[0]


def first_way(task: Task, names: Sequence[str]) -> Way:
    """The way of a task that nobody has claimed: its queue, at its priority."""
    return Way(task.queue, broker_priority(task.priority), names)


def later_way(node_queue: str, names: Sequence[str], *, alone: bool = False) -> Way:
    """The way of a started chain: its node's queue, before all new ones."""
    return Way(node_queue, 0, names, alone)


def _short(text: str) -> str:
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= 60 else clean[:59] + "…"
