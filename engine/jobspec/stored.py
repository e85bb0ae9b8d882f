"""A checked task <-> plain camelCase JSON, as it is stored. The way back trusts what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from engine.jobspec.task import Limits, LinkSpec, Mount, Retry, StoredSpec, TaskSpec

#: Fields whose names differ between Python and the task format.
_CAMEL = {"initial_delay": "initialDelay", "scaling_factor": "scalingFactor", "max_delay": "maxDelay"}
#: What a task says of its main container; name, description and timeout are the task's own.
_MAIN = ("image", "cmd", "entrypoint", "run", "env", "files", "workdir", "user", "pull")
_TEXT_LISTS = ("cmd", "entrypoint")
_TEXT_MAPS = ("env", "files", "opts")
#: Of each field its name in Python, its name in the task format, and its default.
_FIELDS = {
    kind: [
        (field.name, _CAMEL.get(field.name, field.name), {} if field.name in _TEXT_MAPS else field.default)
        for field in fields(kind)
    ]
    for kind in (TaskSpec, LinkSpec, Mount, Limits, Retry)
}


def dump(spec: TaskSpec) -> StoredSpec:
    """What the user asked for, camelCase, JSON-ready; only fields that differ from their defaults."""
    plain = _dump(spec)
    plain |= {name: value for name, value in _dump(spec.main).items() if name in _MAIN}
    plain.pop("main", None)
    for kind, links in (("pre", spec.pre), ("post", spec.post)):
        if links:
            plain[kind] = [_dump(link) for link in links]
    if spec.mounts:
        plain["mounts"] = [_dump(mount) for mount in spec.mounts]
    for name, part in (("limits", spec.limits), ("retry", spec.retry)):
        if dumped := _dump(part):
            plain[name] = dumped
    return plain


def load(plain: Mapping[str, Any]) -> TaskSpec:
    """The task that `dump` wrote, or that the schema let through. Checks nothing again."""
    given = dict(plain)
    main = {name: given.pop(name) for name in _MAIN if name in given}
    retry = {
        python: given["retry"][camel]
        for python, camel, _ in _FIELDS[Retry]
        if camel in given.get("retry", {})
    }
    return TaskSpec(
        name=given["name"],
        main=_link(main),
        description=given.get("description"),
        queue=given.get("queue"),
        priority=given.get("priority", 0),
        volumes=tuple(given.get("volumes", ())),
        mounts=tuple(_mount(mount) for mount in given.get("mounts", ())),
        networks=tuple(given.get("networks", ())),
        network=given.get("network"),
        shm=given.get("shm"),
        limits=Limits(**given.get("limits", {})),
        timeout=given.get("timeout"),
        retry=Retry(**retry),
        pre=tuple(_link(link) for link in given.get("pre", ())),
        post=tuple(_link(link) for link in given.get("post", ())),
        tags=tuple(given.get("tags", ())),
        var=given.get("var"),
    )


def _link(plain: Mapping[str, Any]) -> LinkSpec:
    values = dict(plain)
    for name in _TEXT_LISTS:
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    for name in _TEXT_MAPS:
        if name in values:
            values[name] = dict(values[name])
    return LinkSpec(**values)


def _mount(plain: Mapping[str, Any]) -> Mount:
    return Mount(plain["type"], plain["target"], plain.get("source"), dict(plain.get("opts", {})))


def _dump(part: Any) -> StoredSpec:
    """The set texts, numbers, lists and maps of texts of one record; records inside are left to the caller."""
    plain: StoredSpec = {}
    for python, camel, default in _FIELDS[type(part)]:
        value = getattr(part, python)
        if value == default or isinstance(value, (Limits, Retry, LinkSpec)):
            continue
        if isinstance(value, tuple):
            plain[camel] = list(value)
        else:
            plain[camel] = dict(value) if isinstance(value, Mapping) else value
    return plain
