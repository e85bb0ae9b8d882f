"""What to say about a field that the format does not have: not yet, not yours, elsewhere, or misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from engine.jobspec.problems import Fault

_LATER = {
    "registry": "images from registries with credentials come with secrets",
    "secrets": "secrets come with workflows",
    "gpus": "GPUs come with workflows",
    "parallel": "tasks side by side come with workflows",
    "each": "loops come with workflows",
    "subjob": "jobs in jobs come with workflows",
    "if": "conditions come with workflows",
    "sidecars": "sidecars come with workflows",
    "webhooks": "webhooks come with workflows",
    "tasks": "jobs of several tasks come with workflows",
    "inputs": "inputs come with workflows",
    "output": "outputs of jobs come with workflows",
    "defaults": "defaults of jobs come with workflows",
    "probe": "probes come with sidecars",
    "needs": "tasks that wait for others come with workflows",
    "schedule": "schedules come with workflows",
    "permissions": "permissions come with users",
    "autoDelete": "it comes with retention",
    "wait": "it comes with workflows",
}
_LATER_HINTS = {
    "tasks": "submit one task: its fields stand at the top",
    "registry": "use an image that needs no credentials",
    "secrets": "remove it; do not put secrets into env, where they are readable",
}
_ANSWERS = frozenset(
    [
        "id",
        "jobId",
        "parentId",
        "position",
        "state",
        "result",
        "error",
        "createdAt",
        "scheduledAt",
        "startedAt",
        "completedAt",
        "failedAt",
        "endedAt",
        "nodeId",
        "node",
        "progress",
        "redelivered",
        "attempt",
        "attempts",
        "delivery",
        "origin",
        "crashes",
        "exitCode",
        "links",
        "logs",
    ]
)
#: Words of other systems and short forms, which no likeness of letters would find.
_OTHER_WORDS = {
    "command": "cmd", "args": "cmd", "script": "run", "environment": "env", "variables": "env",
    "working_dir": "workdir", "workingDir": "workdir", "cwd": "workdir", "retries": "retry", "resources": "limits",
    "src": "source", "dst": "target", "destination": "target", "path": "target", "options": "opts",
    "container": "image", "title": "name", "labels": "tags", "shm_size": "shm", "mem": "memory",
    "setup": "pre", "before": "pre", "after": "post", "teardown": "post", "backoff": "initialDelay",
    "attempts": "limit", "maxAttempts": "limit", "max": "limit", "delay": "initialDelay",
}  # fmt: skip
#: Fields of a task that a pre or post has not, because it shares the task's.
_OF_THE_TASK = frozenset(
    [
        "queue",
        "priority",
        "volumes",
        "mounts",
        "networks",
        "network",
        "shm",
        "limits",
        "retry",
        "pre",
        "post",
        "tags",
        "var",
    ]
)


def unknown_field(name: str, known: Iterable[str], what: str) -> Fault:
    """The message for a field `name` that a `what` (task, pre, post, mount …) has not."""
    if what in ("pre", "post") and name in _OF_THE_TASK:
        return Fault(
            f"a {what} has no {name} of its own, it shares the task's", "move it to the task, or remove it"
        )
    if name == "always":
        return Fault("only a post has always", "move the link to post, or remove it")
    if name in _LATER and what in ("task", "pre", "post"):
        return Fault(f"not yet: {_LATER[name]}", _LATER_HINTS.get(name, "remove it"))
    if name in _ANSWERS and what in ("task", "pre", "post"):
        return Fault("the server fills this in", "remove it")
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
    return f"known are {', '.join(sorted(names))}"
