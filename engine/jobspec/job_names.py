"""Check of the expressions in a job: names that nothing sets, and types that can never fit, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.jobspec import template
from engine.jobspec.composite import Each, Leaf, Subjob, Task, walk
from engine.jobspec.expression import kinds
from engine.jobspec.expression.bounds import EVALUATION_STEPS, Budget
from engine.jobspec.expression.check import Scope, text_map
from engine.jobspec.expression.kinds import ANY, TEXT, Type, map_of
from engine.jobspec.job import JobSpec
from engine.jobspec.problems import Fault, Path
from engine.jobspec.template import Template

Faults = list[tuple[Path, str]]
#: Steps, for a whole file, of what needs no context; what is left is evaluated when its task is opened.
_CONSTANT_STEPS = 2 * EVALUATION_STEPS


@dataclass(frozen=True)
class _Results:
    """Results that tasks before may have set: name -> type of the value. `is_open`: a name is an expression."""

    types: Mapping[str, Type] = field(default_factory=dict)
    is_open: bool = False

    def after(self, tasks: tuple[Task, ...]) -> _Results:
        """Return the results after more tasks."""
        types, is_open = dict(self.types), self.is_open
        for task in walk(tasks):
            if task.var is None:
                continue
            is_open = is_open or bool(task.var.expressions)
            if not task.var.expressions and isinstance(task.work, Leaf | Subjob):
                is_json = isinstance(task.work, Leaf) and task.work.result_type == "json"
                types[str(template.stored(task.var))] = ANY if is_json else TEXT
        return _Results(types, is_open)


@dataclass(frozen=True)
class _Around:
    """Names of an expression's place."""

    inputs: Type
    job: Type
    results: _Results = _Results()
    loops: Mapping[str, Type] = field(default_factory=dict)

    def scope(self) -> Scope:
        """Return the names with their types."""
        missing = "" if self.results.is_open else "no earlier task sets tasks.{name}"
        outputs = dict.fromkeys(self.results.types, map_of(TEXT))
        no_outputs = "" if self.results.is_open else "no earlier task sets outputs.{name}"
        return Scope(
            {
                "inputs": self.inputs,
                "job": self.job,
                "tasks": map_of(TEXT, self.results.types, missing),
                "outputs": map_of(map_of(TEXT), outputs, no_outputs),
                "secrets": text_map((), "there is no secret {name}: secrets come in a later version"),
                **self.loops,
            }
        )


def _inputs(types: Mapping[str, Type]) -> Type:
    return map_of(TEXT, types, "the input {name} is not declared")


def _job(*more: str) -> Type:
    return text_map(("id", "name", *more), f"job has no {{name}}, only {', '.join(('id', 'name', *more))}")


def name_faults(job: JobSpec, is_whole: bool) -> Faults:
    """Return the faults of all expressions, each with the path of its text.

    In a job that is not whole, a task that could not be read may set any result.
    """
    checker = _Checker(is_whole)
    types = {name: declared.value_type for name, declared in job.inputs.items()}
    around = _Around(_inputs(types), _job(), _Results(is_open=not is_whole))
    after = checker.sequence(job.tasks, around)
    if job.output is not None:
        checker.text(job.output, ("output",), after)
    ending = replace(after, job=_job("state", "error"))
    checker.sequence(job.finally_tasks, checker.sequence(job.on_failure, ending))
    return checker.faults


class _Checker:
    def __init__(self, is_whole: bool) -> None:
        self.faults: Faults = []
        self._is_whole = is_whole
        self._budget = Budget(_CONSTANT_STEPS)

    def sequence(self, tasks: tuple[Task, ...], around: _Around) -> _Around:
        """Check tasks that run one after another; return the names after them."""
        for task in tasks:
            self._task(task, around)
            around = replace(around, results=around.results.after((task,)))
        return around

    def text(self, text: Template, path: Path, around: _Around) -> None:
        """Check one text."""
        for problem in template.check(text, around.scope(), budget=self._budget):
            self.faults.append((path, Fault(str(problem), "mend the expression")))

    def _task(self, task: Task, around: _Around) -> None:
        path, scope = task.path, around.scope()
        for inner, text in task.templates:
            for problem in template.check(text, scope, budget=self._budget):
                self.faults.append(((*path, *inner), Fault(str(problem), "mend the expression")))
        if task.condition is not None:
            self._expect(
                task.condition, (*path, "if"), scope, kinds.ALL - {"array", "map"}, "a bool or a text"
            )
        if isinstance(task.work, Each):
            self._each(task.work, path, around, scope)
        elif isinstance(task.work, Subjob):
            self._subjob(task.work, path, scope)
        else:
            for child in task.children:
                self._task(child, around)

    def _expect(self, text: Template, path: Path, scope: Scope, wanted: frozenset[str], words: str) -> Type:
        result = template.result_type(text, scope)
        if not result.kinds & wanted:
            message = f"expected {words}, found {result.words()}"
            self.faults.append((path, Fault(message, "see fromJSON() and split() for lists")))
        return result

    def _each(self, each: Each, path: Path, around: _Around, scope: Scope) -> None:
        if not each.list.expressions:
            return  # It could not be read, which is told already.
        listed = self._expect(
            each.list, (*path, "each", "list"), scope, frozenset({"array", "map"}), "a list or a map"
        )
        fields = {"index": TEXT, "number": kinds.INT, "value": listed.element, "key": TEXT}
        known = f"{each.var} has no {{name}}, only {', '.join(fields)}"
        loops = {**around.loops, each.var: map_of(ANY, fields, known)}
        self._task(each.task, replace(around, loops=loops))

    def _subjob(self, subjob: Subjob, path: Path, scope: Scope) -> None:
        """Check the job in the job, which sees only its own inputs."""
        types = {name: template.result_type(text, scope) for name, text in subjob.inputs.items()}
        inside = _Around(_inputs(types), _job(), _Results(is_open=not self._is_whole))
        after = self.sequence(subjob.tasks, inside)
        if subjob.output is not None:
            self.text(subjob.output, (*path, "subjob", "output"), after)
