"""Reader of a job's file: each map by its schema, tasks within tasks, expressions parsed; all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from marshmallow import Schema, ValidationError

from engine.jobspec import container_paths, schema, template, text_rules
from engine.jobspec.braces import as_written, marked, without_unevaluated
from engine.jobspec.composite import Each, Leaf, Parallel, Subjob, Task
from engine.jobspec.expression.errors import ExpressionError
from engine.jobspec.fields import Unevaluated, Verbatim, kind_of, text_of
from engine.jobspec.job import JobSpec
from engine.jobspec.job_fields import (
    OF_LEAVES,
    CompositeSchema,
    EachSchema,
    InputSchema,
    JobSchema,
    LeafSchema,
    ParallelSchema,
    SubjobSchema,
)
from engine.jobspec.job_inputs import MOST_INPUTS, Input, declaration_fault
from engine.jobspec.problems import Fault, Path
from engine.jobspec.task import HostAccess
from engine.jobspec.template import Template

MOST_TASKS = 3_000
MOST_PARALLEL = 1_000
MOST_COMPOSITE_DEPTH = 8
MOST_SUBJOB_DEPTH = 4
MOST_TEMPLATES = 100
#: All expressions of a file; reading and checking a KiB takes 2 to 20 ms.
MOST_EXPRESSION_BYTES = 128 << 10

_MISSING = object()
#: In place of what could not be read.
_NO_TEXT = Template(("",))
_NO_TASK = Task("", _NO_TEXT, Leaf({}))


@cache
def _schema(kind: type[Schema]) -> Schema:
    return kind()


class JobReader:
    """Reader of one file, which collects the faults."""

    def __init__(self, host_access: HostAccess) -> None:
        self.faults: list[tuple[Path, str]] = []
        self._host_access = host_access
        self._expression_bytes = 0

    def job(self, value: Any) -> JobSpec | None:
        """Return the job; None for what is no map. With faults, parts of it may be missing."""
        if not isinstance(value, Mapping):
            self._fault((), f"expected a map of fields, found {kind_of(value)}", "write name: and tasks:")
            return None
        own = self._load(JobSchema, value, ())
        self._check_defaults(own.get("defaults", {}))
        return JobSpec(
            name=own.get("name", ""),
            tasks=self._phase(value, "tasks"),
            description=own.get("description"),
            tags=tuple(own.get("tags", ())),
            inputs=self._inputs(value["inputs"]) if "inputs" in value else {},
            on_failure=self._phase(value, "onFailure"),
            finally_tasks=self._phase(value, "finally"),
            output=self._text(value["output"], ("output",)) if "output" in value else None,
            defaults=own.get("defaults", {}),
            auto_delete=own.get("autoDelete", {}).get("after"),
            wait=own.get("wait", {}).get("timeout"),
        )

    def _phase(self, job: Mapping[str, Any], name: str) -> tuple[Task, ...]:
        return self._tasks(job[name], (name,), MOST_TASKS, (0, 0)) if name in job else ()

    def _check_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Ask the rules of a task, those of the host access too."""
        faults, _ = schema.read({"name": "defaults", "image": "defaults", **defaults}, self._host_access)
        self.faults += [(("defaults", *path), fault) for path, fault in faults]

    def _fault(self, path: Path, message: str, hint: str) -> None:
        self.faults.append((path, Fault(message, hint)))

    def _load(self, kind: type[Schema], value: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Return the fields that a schema reads, without those that have faults."""
        try:
            return dict(_schema(kind).load(as_written(value)))
        except ValidationError as exc:
            self.faults += [((*path, *inner), fault) for inner, fault in schema.flat(exc.messages, ())]
            return dict(exc.valid_data) if isinstance(exc.valid_data, Mapping) else {}

    def _map(self, value: Any, path: Path, example: str) -> Mapping[str, Any] | None:
        """Return the map; None, with a fault, for another value."""
        if isinstance(value, Mapping):
            return value
        self._fault(path, f"expected a map, found {kind_of(value)}", f"write {example}")
        return None

    def _plain_text(self, value: Any, path: Path) -> str:
        """Return the text that a value stands for, with its braces."""
        try:
            return str(text_of(Verbatim(value) if isinstance(value, str) else value, '"…"', loose=True))
        except ValidationError as exc:
            self.faults += [(path, message) for message in exc.messages]
            return ""

    def _text(self, value: Any, path: Path, read: Callable[[str], Template] = template.parse) -> Template:
        """Return the template of a text."""
        if self._expression_bytes > MOST_EXPRESSION_BYTES:
            return _NO_TEXT
        try:
            text = read(self._plain_text(value, path))
        except ExpressionError as exc:
            self._fault(path, str(exc), "mend the expression")
            return _NO_TEXT
        self._expression_bytes += sum(len(expression.source.encode()) for expression in text.expressions)
        if self._expression_bytes > MOST_EXPRESSION_BYTES:
            message = f"the expressions of the file have more than {MOST_EXPRESSION_BYTES:,} bytes"
            self._fault(path, message, "move what is constant out of the expressions, or use several jobs")
        return text

    # Inputs

    def _inputs(self, value: Any) -> dict[str, Input]:
        declared = self._map(value, ("inputs",), "inputs: {size: 720}") or {}
        if len(declared) > MOST_INPUTS:
            self._fault(
                ("inputs",), f"{len(declared)} inputs, at most {MOST_INPUTS} are allowed", "remove some"
            )
            return {}
        return {name: self._input(name, item, ("inputs", name)) for name, item in declared.items()}

    def _input(self, name: str, value: Any, path: Path) -> Input:
        if not 1 <= len(name) <= 64:
            self._fault(path, "the name of an input has 1 to 64 characters", "write another name")
        if not isinstance(value, Mapping):
            return Input(default=self._plain_text(value, path))
        own = self._load(InputSchema, value, path)
        bare = Input.load({key: item for key, item in own.items() if key not in ("default", "enum")})
        if contradiction := declaration_fault(bare, has_default="default" in own):
            self.faults.append(((*path, contradiction[0]), contradiction[1]))
            return replace(bare, is_required=False)
        listed = own.get("enum", ())
        enum = tuple(self._of_type(bare, item, (*path, "enum", index)) for index, item in enumerate(listed))
        declared = replace(bare, enum=enum)
        if "default" in own:
            default = self._of_type(declared, value["default"], (*path, "default"))
            declared = replace(declared, default=default)
        return declared

    def _of_type(self, declared: Input, value: Any, path: Path) -> Any:
        converted, fault = declared.read(value)
        if fault is not None:
            self.faults.append((path, fault))
        return converted

    # Tasks

    def _tasks(
        self, value: Any, path: Path, most: int, depths: tuple[int, int], are_unnamed: bool = False
    ) -> tuple[Task, ...]:
        """Return the tasks of a list; `depths` are those of the composites and the subjobs around it."""
        if not isinstance(value, list) or not value:
            kind = "an empty list" if isinstance(value, list) else kind_of(value)
            self._fault(path, f"expected a list of tasks, found {kind}", "write a task: - name: say hello")
            return ()
        if len(value) > most:
            self._fault(
                path, f"{len(value)} tasks, at most {most:,} are allowed", "use each, or several jobs"
            )
            return ()
        return tuple(
            self._task(item, (*path, index), depths, f"task {index + 1}" if are_unnamed else None)
            for index, item in enumerate(value)
        )

    def _task(self, value: Any, path: Path, depths: tuple[int, int], name: str | None) -> Task:
        """Return a task; `name` is for one that needs none."""
        task = self._map(value, path, "- name: say hello")
        if task is None:
            return _NO_TASK
        if name is not None:
            task = {"name": name, **task}
        if any(kind in task for kind in ("parallel", "each", "subjob")):
            return self._composite(task, path, depths)
        return self._leaf(task, path)

    def _leaf(self, task: Mapping[str, Any], path: Path) -> Task:
        own = self._load(LeafSchema, {key: task[key] for key in OF_LEAVES if key in task}, path)
        fields = marked({key: item for key, item in task.items() if key not in OF_LEAVES})
        faults, checked = schema.read(fields, self._host_access, without_unevaluated(fields))
        self.faults += [((*path, *inner), fault) for inner, fault in faults]
        draft = {key: self._draft(item, (*path, key)) for key, item in (checked or {}).items()}
        files = self._templates(own["templates"], draft, path) if "templates" in own else {}
        return Task(
            spec_path=_spec_path(path),
            name=_template(draft.get("name", "")),
            work=Leaf(draft, files, own.get("resultType", "text")),
            description=draft.get("description"),
            condition=self._text(own["condition"], (*path, "if")) if "condition" in own else None,
            var=_template(draft["var"]) if "var" in draft else None,
            continue_on_error=own.get("continueOnError", False),
            tags=tuple(draft.get("tags", ())),
        )

    def _draft(self, value: Any, path: Path) -> Any:
        """Return a checked value with templates in place of the texts that have expressions."""
        if isinstance(value, Unevaluated):
            text = self._text(value, path)
            return text if text.expressions else str(value)
        if isinstance(value, Verbatim):
            return str(value)
        if isinstance(value, Mapping):
            return {key: self._draft(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._draft(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _templates(self, value: Any, draft: Mapping[str, Any], path: Path) -> dict[str, Template]:
        """Return the files that are evaluated; their contents are checked when the task is opened."""
        path = (*path, "templates")
        files = self._map(value, path, "templates: {name.txt: text}") or {}
        if len(files) > MOST_TEMPLATES:
            self._fault(path, f"{len(files)} entries, at most {MOST_TEMPLATES} are allowed", "remove some")
            return {}
        workdir = draft.get("workdir", container_paths.WORKDIR)
        for name in files:
            fault = text_rules.file_name_fault(name) or container_paths.file_place_fault(workdir, name)
            if name in draft.get("files", {}):
                fault = Fault("files has this name too", "rename one of them")
            if fault is not None:
                self.faults.append(((*path, name), fault))
        return {name: self._text(text, (*path, name)) for name, text in files.items()}

    # Composites

    def _composite(self, task: Mapping[str, Any], path: Path, depths: tuple[int, int]) -> Task:
        own = self._load(CompositeSchema, task, path)
        return Task(
            spec_path=_spec_path(path),
            name=self._named(own.get("name", ""), (*path, "name")),
            work=self._work(own, path, depths),
            description=own.get("description"),
            condition=self._text(own["condition"], (*path, "if")) if "condition" in own else None,
            var=self._ruled(own["var"], (*path, "var"), text_rules.var_fault) if "var" in own else None,
            continue_on_error=own.get("continueOnError", False),
            tags=tuple(own.get("tags", ())),
        )

    def _named(self, value: Any, path: Path) -> Template:
        return self._ruled(value, path, text_rules.name_fault) if value != "" else _NO_TEXT

    def _ruled(self, value: Any, path: Path, rule: Callable[[str], Fault | None]) -> Template:
        """Return the template of a text; one without expressions keeps its rule."""
        text = self._text(value, path)
        if not text.expressions and (fault := rule(str(template.stored(text)))):
            self.faults.append((path, fault))
        return text

    def _work(self, own: Mapping[str, Any], path: Path, depths: tuple[int, int]) -> Parallel | Each | Subjob:
        composites, subjobs = depths
        if composites >= MOST_COMPOSITE_DEPTH:
            self._fault(path, f"nested deeper than {MOST_COMPOSITE_DEPTH} composites", "use fewer levels")
            return Parallel(())
        inner = (composites + 1, subjobs)
        if "parallel" in own:
            return self._parallel(own["parallel"], (*path, "parallel"), inner)
        if "each" in own:
            return self._each(own["each"], (*path, "each"), inner)
        if "subjob" in own:
            return self._subjob(own["subjob"], (*path, "subjob"), inner)
        return Parallel(())

    def _parallel(self, value: Any, path: Path, depths: tuple[int, int]) -> Parallel:
        parallel = self._map(value, path, "parallel: {tasks: [{…}]}")
        own = {} if parallel is None else self._load(ParallelSchema, parallel, path)
        tasks = own.get("tasks", _MISSING)
        children = (
            () if tasks is _MISSING else self._tasks(tasks, (*path, "tasks"), MOST_PARALLEL, depths, True)
        )
        return Parallel(children, own.get("failFast", True))

    def _each(self, value: Any, path: Path, depths: tuple[int, int]) -> Each:
        each = self._map(value, path, "each: {list: …, task: {…}}")
        own = {} if each is None else self._load(EachSchema, each, path)
        listed = self._text(own["list"], (*path, "list"), template.parse_list) if "list" in own else _NO_TEXT
        task = self._task(own["task"], (*path, "task"), depths, "task") if "task" in own else _NO_TASK
        return Each(
            listed,
            task,
            own.get("var", "item"),
            own.get("concurrency", 0),
            own.get("failFast", True),
        )

    def _subjob(self, value: Any, path: Path, depths: tuple[int, int]) -> Subjob:
        subjob = self._map(value, path, "subjob: {name: part, tasks: [{…}]}")
        own = {} if subjob is None else self._load(SubjobSchema, subjob, path)
        composites, subjobs = depths
        if subjobs >= MOST_SUBJOB_DEPTH:
            self._fault(path, f"nested deeper than {MOST_SUBJOB_DEPTH} subjobs", "use fewer levels")
            own.pop("tasks", None)
        inputs = self._map(own.get("inputs", {}), (*path, "inputs"), "inputs: {size: 720}") or {}
        inner = (composites, subjobs + 1)
        return Subjob(
            name=self._named(own.get("name", ""), (*path, "name")),
            tasks=self._tasks(own["tasks"], (*path, "tasks"), MOST_TASKS, inner) if "tasks" in own else (),
            description=own.get("description"),
            inputs={name: self._text(item, (*path, "inputs", name)) for name, item in inputs.items()},
            output=self._text(own["output"], (*path, "output")) if "output" in own else None,
            detached=own.get("detached", False),
            auto_delete=own.get("autoDelete", {}).get("after"),
        )


def _spec_path(path: Path) -> str:
    return "/".join(map(str, path))


def _template(draft: Any) -> Template:
    return draft if isinstance(draft, Template) else Template((str(draft),))
