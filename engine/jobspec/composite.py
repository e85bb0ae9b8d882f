"""Tasks of a job's file as frozen values: leaves that run containers, and parallel, each and subjob around them.

Texts that may have expressions are templates; they become texts when the task is opened, and the task's rules are asked
again (engine.jobspec.job_schema.opened).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.jobspec.problems import Path
from engine.jobspec.template import Template

#: A task as `stored.dump` writes it, with a Template in place of each text that has expressions.
Draft = Mapping[str, Any]


@dataclass(frozen=True)
class Leaf:
    """Task that runs a chain of containers."""

    draft: Draft
    #: Name below the working directory -> file that is evaluated.
    templates: Mapping[str, Template] = field(default_factory=dict)
    #: `text`, or `json`: later tasks see the parsed result.
    result_type: str = "text"


@dataclass(frozen=True)
class Parallel:
    """Tasks that run at the same time."""

    tasks: tuple[Task, ...]
    #: A failed task ends its siblings.
    fail_fast: bool = True


@dataclass(frozen=True)
class Each:
    """Task for each element of a list or map."""

    list: Template
    task: Task
    #: Name of the loop variable in the task's expressions.
    var: str = "item"
    #: Children that may be open at the same time; 0: all.
    concurrency: int = 0
    fail_fast: bool = True


@dataclass(frozen=True)
class Subjob:
    """Job of its own, which sees nothing of its parent but its inputs."""

    name: Template
    tasks: tuple[Task, ...]
    description: str | None = None
    inputs: Mapping[str, Template] = field(default_factory=dict)
    output: Template | None = None
    #: Nobody waits for its end.
    detached: bool = False
    #: Time after its end at which it is deleted.
    auto_delete: str | None = None


@dataclass(frozen=True)
class Task:
    """Task of a job: what it runs, and when."""

    #: Place in the file: `tasks/3/each/task`.
    spec_path: str
    #: Of a leaf this, `description`, `var` and `tags` are those of its draft.
    name: Template
    work: Leaf | Parallel | Each | Subjob
    description: str | None = None
    #: Skips the task when it yields false.
    condition: Template | None = None
    #: Name under which later tasks see the result; None for composites, which have none.
    var: Template | None = None
    continue_on_error: bool = False
    tags: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Return task, parallel, each or subjob."""
        return {Leaf: "task", Parallel: "parallel", Each: "each", Subjob: "subjob"}[type(self.work)]

    @property
    def children(self) -> tuple[Task, ...]:
        """Return the tasks directly below; those of a subjob are another job's."""
        if isinstance(self.work, Parallel):
            return self.work.tasks
        return (self.work.task,) if isinstance(self.work, Each) else ()

    @property
    def templates(self) -> Iterator[tuple[Path, Template]]:
        """Yield the templates that are evaluated when this task is opened, each with its path below the task."""
        if self.condition is not None:
            yield ("if",), self.condition
        if isinstance(self.work, Leaf):
            yield from templates_in(self.work.draft)
            yield from templates_in(self.work.templates, ("templates",))
            return
        yield ("name",), self.name
        if isinstance(self.work, Each):
            yield ("each", "list"), self.work.list
        elif isinstance(self.work, Subjob):
            yield ("subjob", "name"), self.work.name
            yield from templates_in(self.work.inputs, ("subjob", "inputs"))

    @property
    def path(self) -> Path:
        """Return the path of the task in its file."""
        return tuple(int(step) if step.isdecimal() else step for step in self.spec_path.split("/"))


def walk(tasks: tuple[Task, ...]) -> Iterator[Task]:
    """Yield the tasks and those below them in the order of the file, without those of subjobs."""
    for task in tasks:
        yield task
        yield from walk(task.children)


def filled(draft: Any, fill: Callable[[Template], Any]) -> Any:
    """Return a draft with what `fill` makes of each template."""
    if isinstance(draft, Template):
        return fill(draft)
    if isinstance(draft, Mapping):
        return {key: filled(value, fill) for key, value in draft.items()}
    return [filled(value, fill) for value in draft] if isinstance(draft, list | tuple) else draft


def templates_in(draft: Any, path: Path = ()) -> Iterator[tuple[Path, Template]]:
    """Yield the templates of a draft, each with its path."""
    if isinstance(draft, Template):
        yield path, draft
    elif isinstance(draft, Mapping):
        for key, value in draft.items():
            yield from templates_in(value, (*path, key))
    elif isinstance(draft, list | tuple):
        for index, value in enumerate(draft):
            yield from templates_in(value, (*path, index))
