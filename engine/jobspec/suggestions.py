"""Faults for unknown fields: planned for later, set by the server, misplaced, or misspelt."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import fields

from engine.jobspec.problems import Fault
from engine.jobspec.task import LinkSpec, TaskSpec

#: Field -> the part of Ferryman that will bring it.
_LATER = {
    "registry": "registries with credentials come with secrets",
    "secrets": "secrets come in a later version",
    "gpus": "GPUs come in a later version",
    "parallel": "tasks side by side come with workflows",
    "each": "loops come with workflows",
    "subjob": "jobs in jobs come with workflows",
    "if": "conditions come with workflows",
    "sidecars": "sidecars come in a later version",
    "webhooks": "webhooks come in a later version",
    "tasks": "jobs of several tasks come with workflows",
    "inputs": "inputs come with workflows",
    "output": "outputs of jobs come with workflows",
    "defaults": "defaults of jobs come with workflows",
    "probe": "probes come with sidecars",
    "needs": "tasks that wait for others come in a later version",
    "schedule": "schedules come in a later version",
    "permissions": "permissions come with users",
    "autoDelete": "deletion comes with retention",
    "wait": "it comes with workflows",
}
_LATER_HINTS = {
    "tasks": "submit one task: write its fields at the top",
    "registry": "use an image that needs no credentials",
    "secrets": "remove it; do not put secrets into env, where they are readable",
}
#: Fields of the API's answers.
_SET_BY_SERVER = {
    "id", "jobId", "parentId", "position", "state", "result", "error", "createdAt", "scheduledAt", "startedAt",
    "completedAt", "failedAt", "endedAt", "nodeId", "node", "progress", "redelivered", "attempt", "attempts",
    "delivery", "origin", "crashes", "exitCode", "links", "logs",
}  # fmt: skip
#: Words of other systems and short forms, which are not similar enough in letters.
_OTHER_WORDS = {
    "command": "cmd", "args": "cmd", "script": "run", "environment": "env", "variables": "env",
    "working_dir": "workdir", "workingDir": "workdir", "cwd": "workdir", "retries": "retry", "resources": "limits",
    "src": "source", "dst": "target", "destination": "target", "path": "target", "options": "opts",
    "container": "image", "title": "name", "labels": "tags", "shm_size": "shm", "mem": "memory",
    "setup": "pre", "before": "pre", "after": "post", "teardown": "post", "backoff": "initialDelay",
    "attempts": "limit", "maxAttempts": "limit", "max": "limit", "delay": "initialDelay",
}  # fmt: skip
#: Fields of a task that pre and post share, so they have none of their own.
_OF_THE_TASK = (
    {field.name for field in fields(TaskSpec)} - {field.name for field in fields(LinkSpec)} - {"main"}
)

#: Fields that only a task with containers has.
_OF_A_CONTAINER = {
    re.sub(r"_(\w)", lambda letter: letter[1].upper(), field.name)
    for kind in (TaskSpec, LinkSpec)
    for field in fields(kind)
} - {"name", "description", "tags", "var", "main", "always"}
_TASKS_AND_JOBS = ("task", "pre", "post", "job", "composite", "subjob")


def unknown_field_fault(name: str, known: Iterable[str], what: str) -> Fault:
    """Return the fault for a field that a `what` (task, pre, post, mount …) with the `known` fields does not have."""
    if what in ("pre", "post") and name in _OF_THE_TASK:
        return Fault(f"{name} is a field of the task, not of a {what}", "move it to the task, or remove it")
    if name in _OF_A_CONTAINER and what in ("job", "subjob"):
        return Fault(f"{name} is a field of a task, not of a {what}", "move it to a task")
    if name in _OF_A_CONTAINER and what == "composite":
        hint = "move it to the tasks within"
        return Fault(f"a task with parallel, each or subjob runs no container and has no {name}", hint)
    if name == "always":
        return Fault("only a post can have the field always", "move the link to post, or remove it")
    if name in _LATER and what in _TASKS_AND_JOBS:
        return Fault(f"not supported yet: {_LATER[name]}", _LATER_HINTS.get(name, "remove it"))
    if name in _SET_BY_SERVER and what in _TASKS_AND_JOBS:
        return Fault("the server sets this field", "remove it")
    if name == "task" and what == "task":
        return Fault("unknown field", "write the task's fields at the top, not below task:")
    return Fault("unknown field", _suggestion(name, list(known)))


def _suggestion(name: str, names: list[str]) -> str:
    if not names:
        return "remove it"
    other = _OTHER_WORDS.get(name)
    if other in names:
        return f"did you mean {other}?"
    lower = {known.lower(): known for known in names}
    if len(name) <= 40 and (near := difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)):
        return f"did you mean {lower[near[0]]}?"
    return f"known fields are {', '.join(sorted(names))}"
