"""A checked task as plain JSON and back, in the form in which it is stored: keys in camelCase."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from engine.jobspec.task import Limits, LinkSpec, Mount, Retry, TaskSpec

#: A task as the API takes it and the store keeps it: {"name": …, "image": …}.
SpecJson = dict[str, Any]

_NESTED: dict[str, Any] = {
    "mounts": Mount, "limits": Limits, "retry": Retry, "pre": LinkSpec, "post": LinkSpec,
}  # fmt: skip
_KINDS = (TaskSpec, *dict.fromkeys(_NESTED.values()))
#: Kind -> Python name of each field -> its name in the task format.
_FORMAT_NAMES: dict[Any, dict[str, str]] = {
    kind: {
        field.name: re.sub(r"_(\w)", lambda letter: letter[1].upper(), field.name) for field in fields(kind)
    }
    for kind in _KINDS
}
_PYTHON_NAMES = {name: python for names in _FORMAT_NAMES.values() for python, name in names.items()}
_DEFAULTS: dict[Any, dict[str, Any]] = {
    kind: {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(kind)
    }
    for kind in _KINDS
}
#: Fields of the main container; in the task format they stand beside the task's own.
_OF_MAIN = [
    name for name in _FORMAT_NAMES[LinkSpec] if name not in _FORMAT_NAMES[TaskSpec] and name != "always"
]


def dump(spec: TaskSpec) -> SpecJson:
    """Return the task as JSON values; fields with their default are left out."""
    dumped: SpecJson = {}
    for name, value in _dump(spec).items():
        dumped |= {key: value[key] for key in _OF_MAIN if key in value} if name == "main" else {name: value}
    return dumped


def load(spec: Mapping[str, Any]) -> TaskSpec:
    """Return the task that `dump` wrote, or that the schema has checked. Checks nothing again."""
    main = {name: spec[name] for name in _OF_MAIN if name in spec}
    own = {_PYTHON_NAMES[name]: _value(name, spec[name]) for name in spec if name not in main}
    return TaskSpec(main=_record(LinkSpec, main), **own)


def _dump(value: Any) -> Any:
    if is_dataclass(value):
        defaults, names = _DEFAULTS[type(value)], _FORMAT_NAMES[type(value)]
        set_fields = ((name, getattr(value, name)) for name in names)
        return {names[name]: _dump(item) for name, item in set_fields if item != defaults[name]}
    if isinstance(value, tuple):
        return [_dump(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _record(kind: Any, values: Mapping[str, Any]) -> Any:
    return kind(**{_PYTHON_NAMES[name]: _value(name, value) for name, value in values.items()})


def _value(name: str, value: Any) -> Any:
    kind = _NESTED.get(name)
    if isinstance(value, Mapping):
        return _record(kind, value) if kind else dict(value)
    if isinstance(value, (list, tuple)):
        return tuple(_record(kind, item) if kind else item for item in value)
    return value
