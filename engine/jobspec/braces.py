"""Marks on the texts of a job's tasks that may have `{{`: in some it begins an expression, in some it means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.jobspec.fields import Unevaluated, Verbatim

#: Texts of a container in which expressions are evaluated, and those in which `{{` means nothing.
_EVALUATED = ("name", "image", "cmd", "env")
_EVALUATED_OF_TASKS = (*_EVALUATED, "queue", "var")
_VERBATIM = ("run", "files", "description", "tags")
_WORDS = ("description", "tags", "pattern")


def marked(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task as its author wrote it, with the texts marked that the schema lets pass."""
    return _task(task, Unevaluated)


def marked_opened(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task whose expressions were evaluated: what they yielded is a text, whatever is in it."""
    return _task(task, Verbatim)


def as_written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map that is no task: in its texts `{{` means nothing."""
    return {key: _with_mark(value, Verbatim) if key in _WORDS else value for key, value in fields.items()}


def _task(task: Mapping[str, Any], evaluated: type[Verbatim]) -> dict[str, Any]:
    made = _link(task, _EVALUATED_OF_TASKS, evaluated)
    for key in ("pre", "post"):
        if isinstance(links := task.get(key), list | tuple):
            made[key] = [
                _link(link, _EVALUATED, evaluated) if isinstance(link, Mapping) else link for link in links
            ]
    return made


def _link(link: Mapping[str, Any], keys: tuple[str, ...], evaluated: type[Verbatim]) -> dict[str, Any]:
    marks: dict[str, type[Verbatim]] = {
        **dict.fromkeys(keys, evaluated),
        **dict.fromkeys(_VERBATIM, Verbatim),
    }
    return {key: _with_mark(value, marks[key]) if key in marks else value for key, value in link.items()}


def _with_mark(value: Any, mark: type[Verbatim]) -> Any:
    if isinstance(value, str):
        if "{{" not in value:
            return value
        # Without an end the braces are text, and the rules are asked at once.
        return mark(value) if "}}" in value[value.index("{{") :] else Verbatim(value)
    if isinstance(value, Mapping):
        return {key: _with_mark(item, mark) for key, item in value.items()}
    return [_with_mark(item, mark) for item in value] if isinstance(value, list | tuple) else value


def without_unevaluated(value: Any) -> Any:
    """Return a task for the rules of the host access, which are asked again when it is opened."""
    if isinstance(value, Unevaluated):
        return None
    if isinstance(value, Mapping):
        return {key: without_unevaluated(item) for key, item in value.items()}
    return [without_unevaluated(item) for item in value] if isinstance(value, list | tuple) else value
