"""Rows of the model: a job's course, tasks with their counters, and the state of the world."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from engine.model.states import TaskState
from engine.model.tree import Course, Scope
from tests.model.workflow.job_shapes import Key, Shape

#: States of tasks and of jobs, which equal their texts.
ENDED: frozenset[str] = frozenset(state for state in TaskState if state.ended)
BAD: frozenset[str] = frozenset((TaskState.FAILED, TaskState.CANCELLED))
#: Error of what failed.
WORDS = "words"


class Task(NamedTuple):
    """Row of a task, with its row of counters when it is a composite that was opened."""

    state: TaskState
    #: Key of the composite; () at the top.
    parent: Key = ()
    attempt: int = 1
    delivery: int = 1
    #: Known from the opening on.
    continue_on_error: bool = False
    #: The composite of an earlier round, whose good children are kept.
    prior: Key = ()
    scope: Scope | None = None
    child_job: str = ""


class State(NamedTuple):
    """State of the world; the last four say what may still happen."""

    jobs: tuple[tuple[str, Course], ...]
    tasks: tuple[tuple[Key, Task], ...]
    #: (key, attempt, delivery), zombies included.
    threads: frozenset[tuple[Any, ...]]
    #: () or what each has read, and will write.
    steppers: tuple[tuple[Any, ...], ...]
    fails: int
    cancels: int
    restarts: int
    kills: int


class Bound(NamedTuple):
    """Size of the explored world: one job, and what may happen to it."""

    name: str
    shape: Shape
    fails: int = 0
    cancels: int = 0
    restarts: int = 0
    kills: int = 0
    steppers: int = 2


class BrokenPromise(Exception):
    """Promise that a step or a state breaks."""


def hold(ok: object, *promise: object) -> None:
    """Raise BrokenPromise unless the promise holds."""
    if not ok:
        raise BrokenPromise(" ".join(told(part) for part in promise))


def told(part: object) -> str:
    """Return a part of a story in words; a key as `J/0/1` and its children, with the round when it is not the first."""
    if not isinstance(part, tuple) or len(part) < 4 or not isinstance(part[0], str):
        return str(part)
    text = "/".join(map(str, part[:3] + part[4:]))
    return text if part[3] == 1 else f"{text} (round {part[3]})"


@cache
def task_id(key: Key) -> str:
    """Return the key as the text that a job's row has."""
    return "/".join(map(str, key))


@cache
def key_of(task: str) -> Key:
    """Return the key of a task's id."""
    name, *numbers = task.split("/")
    return (name, *map(int, numbers))
