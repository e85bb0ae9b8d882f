"""Builders of records: a plain record, with the given fields changed."""

from __future__ import annotations

from typing import Any

from engine.model.records import Link, Node, Task
from engine.model.states import LinkState, NodeState

IMAGE = "busybox:1.36"


def a_task(**changes: Any) -> Task:
    """Build a PENDING task that was never claimed, the only one of its job."""
    plain: dict[str, Any] = {
        "id": "t",
        "job_id": "j",
        "position": 1,
        "name": "name",
        "queue": "default",
        "priority": 0,
        "spec": {},
        "timeout_ms": None,
    }
    return Task(**plain | changes)


def a_link(**changes: Any) -> Link:
    """Build the WAITING main link of a task's first run; `name` is the kind if it is not given."""
    plain: dict[str, Any] = {
        "task_id": "t",
        "attempt": 1,
        "origin": 1,
        "index": 0,
        "kind": "main",
        "name": changes.get("kind", "main"),
        "image": IMAGE,
        "always": False,
        "state": LinkState.WAITING,
        **dict.fromkeys(("container_id", "confirmed_by", "exit_code", "error", "started_at", "ended_at")),
    }
    return Link(**plain | changes)


def a_node(id: str, **changes: Any) -> Node:
    """Build a JOINING node that has not looked, serves the default queue and has one slot."""
    plain: dict[str, Any] = {
        "id": id,
        "name": f"w@{id}",
        "host": "here",
        "state": NodeState.JOINING,
        "beat": 0,
        "runtime_ok": True,
        "looked": 0,
        "lapse_no": None,
        "queues": ("default",),
        "slots": 1,
        "daemon": None,
        "started_at": 0,
        "seen_at": 0,
    }
    return Node(**plain | changes)
