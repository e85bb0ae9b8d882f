"""Job of many tasks as a frozen value, and its stored form: plain JSON, with templates in segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.jobspec import quantities, template
from engine.jobspec.composite import Each, Leaf, Parallel, Subjob, Task, filled
from engine.jobspec.job_inputs import Input
from engine.jobspec.template import Template

#: A job as it is stored.
JobJson = dict[str, Any]


@dataclass(frozen=True)
class JobSpec:
    """Job: its inputs, its tasks in order, and what runs after them."""

    name: str
    tasks: tuple[Task, ...]
    description: str | None = None
    tags: tuple[str, ...] = ()
    inputs: Mapping[str, Input] = field(default_factory=dict)
    #: Run after a failed task, before `finally_tasks`.
    on_failure: tuple[Task, ...] = ()
    #: Run at the end, however the job ends.
    finally_tasks: tuple[Task, ...] = ()
    output: Template | None = None
    #: Fields of a task (queue, priority, timeout, limits, retry) for leaves that do not set them.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    auto_delete: str | None = None
    wait: str | None = None

    @property
    def auto_delete_seconds(self) -> float | None:
        """Seconds after the end at which the job is deleted, None for never."""
        return None if self.auto_delete is None else quantities.duration_seconds(self.auto_delete)

    @property
    def wait_seconds(self) -> float | None:
        """Seconds for which the request waits for the end, None without."""
        return None if self.wait is None else quantities.duration_seconds(self.wait)


def dump(job: JobSpec) -> JobJson:
    """Return the job as JSON values; what has its default is left out. Values of inputs are not part of it."""
    return _set(
        name=job.name,
        description=job.description,
        tags=list(job.tags),
        inputs={name: declared.dump() for name, declared in job.inputs.items()},
        tasks=[_dump_task(task) for task in job.tasks],
        onFailure=[_dump_task(task) for task in job.on_failure],
        output=_form(job.output),
        defaults=dict(job.defaults),
        autoDelete=job.auto_delete,
        wait=job.wait,
        **{"finally": [_dump_task(task) for task in job.finally_tasks]},
    )


def load(form: Mapping[str, Any]) -> JobSpec:
    """Return the job that `dump` wrote. Checks nothing again."""
    return JobSpec(
        name=form["name"],
        tasks=_load_tasks(form["tasks"], "tasks"),
        description=form.get("description"),
        tags=tuple(form.get("tags", ())),
        inputs={name: Input.load(declared) for name, declared in form.get("inputs", {}).items()},
        on_failure=_load_tasks(form.get("onFailure", ()), "onFailure"),
        finally_tasks=_load_tasks(form.get("finally", ()), "finally"),
        output=_template(form.get("output")),
        defaults=form.get("defaults", {}),
        auto_delete=form.get("autoDelete"),
        wait=form.get("wait"),
    )


def _set(**fields: Any) -> dict[str, Any]:
    """Return the fields that are set."""
    return {name: value for name, value in fields.items() if value not in (None, [], {}, False)}


def _form(of: Template | None) -> Any:
    return None if of is None else template.stored(of)


def _template(form: Any) -> Template | None:
    return None if form is None else _restored(form)


def _restored(form: Any) -> Template:
    restored = template.restored(form)
    assert isinstance(restored, Template)
    return restored


def _dump_task(task: Task) -> JobJson:
    form = _set(continueOnError=task.continue_on_error, **{"if": _form(task.condition)})
    if not isinstance(task.work, Leaf):
        name = template.stored(task.name)
        form |= _set(name=name, description=task.description, var=_form(task.var), tags=list(task.tags))
    return {**form, **_dump_work(task.work)}


def _dump_work(work: Leaf | Parallel | Each | Subjob) -> JobJson:
    if isinstance(work, Leaf):
        templates = {name: template.stored(text) for name, text in work.templates.items()}
        result_type = None if work.result_type == "text" else work.result_type
        return _set(templates=templates, resultType=result_type) | {
            "draft": filled(work.draft, template.stored)
        }
    if isinstance(work, Parallel):
        children = [_dump_task(task) for task in work.tasks]
        return {"parallel": {"tasks": children, **_slow(work.fail_fast)}}
    if isinstance(work, Each):
        own = _set(concurrency=work.concurrency, var=None if work.var == "item" else work.var)
        listed = {"list": template.stored(work.list), "task": _dump_task(work.task)}
        return {"each": {**listed, **own, **_slow(work.fail_fast)}}
    subjob = _set(
        name=template.stored(work.name),
        description=work.description,
        inputs={name: template.stored(text) for name, text in work.inputs.items()},
        output=_form(work.output),
        detached=work.detached,
        autoDelete=work.auto_delete,
        tasks=[_dump_task(task) for task in work.tasks],
    )
    return {"subjob": subjob}


def _slow(fail_fast: bool) -> dict[str, bool]:
    return {} if fail_fast else {"failFast": False}


def _load_tasks(forms: Any, path: str) -> tuple[Task, ...]:
    return tuple(_load_task(form, f"{path}/{number}") for number, form in enumerate(forms))


def _load_task(form: Mapping[str, Any], path: str) -> Task:
    work = _load_work(form, path)
    own = form.get("draft", form)
    return Task(
        spec_path=path,
        name=_restored(own["name"]),
        work=work,
        description=own.get("description"),
        condition=_template(form.get("if")),
        var=_template(own.get("var")),
        continue_on_error=form.get("continueOnError", False),
        tags=tuple(own.get("tags", ())),
    )


def _load_work(form: Mapping[str, Any], path: str) -> Leaf | Parallel | Each | Subjob:
    if "parallel" in form:
        parallel = form["parallel"]
        tasks = _load_tasks(parallel["tasks"], f"{path}/parallel/tasks")
        return Parallel(tasks, parallel.get("failFast", True))
    if "each" in form:
        each = form["each"]
        return Each(
            _restored(each["list"]),
            _load_task(each["task"], f"{path}/each/task"),
            each.get("var", "item"),
            each.get("concurrency", 0),
            each.get("failFast", True),
        )
    if "subjob" in form:
        return _load_subjob(form["subjob"], path)
    templates = {name: _restored(text) for name, text in form.get("templates", {}).items()}
    return Leaf(_load_draft(form["draft"]), templates, form.get("resultType", "text"))


def _load_subjob(form: Mapping[str, Any], path: str) -> Subjob:
    return Subjob(
        name=_restored(form["name"]),
        tasks=_load_tasks(form["tasks"], f"{path}/subjob/tasks"),
        description=form.get("description"),
        inputs={name: _restored(text) for name, text in form.get("inputs", {}).items()},
        output=_template(form.get("output")),
        detached=form.get("detached", False),
        auto_delete=form.get("autoDelete"),
    )


def _load_draft(form: Any) -> Any:
    """Return the draft of a stored one: a map whose only key `t` holds a list is a template, for texts are no maps."""
    if isinstance(form, Mapping):
        if form.keys() == {"t"} and isinstance(form["t"], list):
            return _restored(form)
        return {key: _load_draft(value) for key, value in form.items()}
    return [_load_draft(value) for value in form] if isinstance(form, list) else form
