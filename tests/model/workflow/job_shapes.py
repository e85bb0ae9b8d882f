"""Shapes of jobs: what a model of a workflow has instead of a job file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from engine.model.states import TaskState

#: (job, phase, position, round, child, child …): a row's key. Without the round it is the place in the job's file.
Key = tuple[Any, ...]


class Kind(StrEnum):
    """Kinds of a task."""

    LEAF = "leaf"
    PARALLEL = "parallel"
    EACH = "each"
    SUBJOB = "subjob"


@dataclass(frozen=True)
class Node:
    """Task of a job's file."""

    kind: Kind = Kind.LEAF
    #: The children of parallel; of each, the task that is repeated, `size` times.
    children: tuple[Node, ...] = ()
    size: int = 0
    #: Most children that may be open; 0: no bound.
    concurrency: int = 0
    fail_fast: bool = True
    continue_on_error: bool = False
    retries: int = 0
    #: SKIPPED: its `if` is false; FAILED: an expression of it is wrong.
    evaluates_to: TaskState = TaskState.PENDING
    job: Shape | None = None

    @property
    def is_composite(self) -> bool:
        """Return whether the task has children."""
        return self.kind is not Kind.LEAF


@dataclass(frozen=True)
class Shape:
    """Job's file: three phases, and perhaps an output, which can be evaluated or not."""

    phases: tuple[tuple[Node, ...], tuple[Node, ...], tuple[Node, ...]]
    has_output: bool = False
    is_output_wrong: bool = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return the number of top tasks in each phase."""
        tasks, on_failure, finally_ = self.phases
        return len(tasks), len(on_failure), len(finally_)


LEAF = Node()
RETRIED = Node(retries=1)
SKIPPED = Node(evaluates_to=TaskState.SKIPPED)
WRONG = Node(evaluates_to=TaskState.FAILED)


def parallel(*children: Node, fail_fast: bool = True) -> Node:
    """Return a task whose children may all run at once."""
    return Node(Kind.PARALLEL, children, len(children), fail_fast=fail_fast)


def each(size: int, child: Node, concurrency: int = 0, *, fail_fast: bool = True) -> Node:
    """Return a task that repeats another for each item of a list."""
    return Node(Kind.EACH, (child,), size, concurrency, fail_fast)


def subjob(shape: Shape) -> Node:
    """Return a task that is an attached job."""
    return Node(Kind.SUBJOB, size=1, job=shape)


def forgiven(node: Node) -> Node:
    """Return the task with `continueOnError`."""
    return replace(node, continue_on_error=True)


def job(
    *tasks: Node,
    on_failure: tuple[Node, ...] = (),
    finally_: tuple[Node, ...] = (),
    output: bool = False,
    wrong_output: bool = False,
) -> Shape:
    """Return a job's file."""
    return Shape((tasks, on_failure, finally_), output or wrong_output, wrong_output)


def spec_path(key: Key) -> Key:
    """Return the place of a row in the job's file."""
    return key[:3] + key[4:]


def job_name(key: Key) -> str:
    """Return the id of the job that a subjob's task begins, the same in every round."""
    return ".".join(map(str, spec_path(key)))


class Plan:
    """Files of a job and of its subjobs: every place has its node, every job its shape."""

    def __init__(self, shape: Shape) -> None:
        self.nodes: dict[Key, Node] = {}
        self.shapes: dict[str, Shape] = {}
        self._walk("J", shape)

    def _walk(self, name: str, shape: Shape) -> None:
        self.shapes[name] = shape
        for phase, tasks in enumerate(shape.phases):
            for position, node in enumerate(tasks, 1):
                self._place((name, phase, position), node)

    def _place(self, path: Key, node: Node) -> None:
        self.nodes[path] = node
        if node.job:
            self._walk(".".join(map(str, path)), node.job)
        children = node.children * node.size if node.kind is Kind.EACH else node.children
        for n, child in enumerate(children):
            self._place((*path, n), child)
