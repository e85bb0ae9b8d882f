"""Options of `celery worker` that a Ferryman worker cannot honour: each is refused in a sentence, none is ignored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import SettingsError
from engine.jobspec.text_rules import queue_fault

_TIMEOUT = "write timeout in the task, which bounds the attempt"
_CHILDREN = "a worker has no child processes; limit containers by limits in the task"
#: Option as Celery names it -> the value that means "not given", the option for people, and the remedy.
_REFUSED: Mapping[str, tuple[Any, str, str]] = {
    "autoscale": (
        None,
        "--autoscale",
        "a slot costs nothing while it is free; give the number of slots with -c",
    ),
    "time_limit": (None, "--time-limit", _TIMEOUT),
    "soft_time_limit": (None, "--soft-time-limit", _TIMEOUT),
    "max_tasks_per_child": (None, "--max-tasks-per-child", _CHILDREN),
    "max_memory_per_child": (None, "--max-memory-per-child", _CHILDREN),
    "pool_start_method": (None, "--pool-start-method", _CHILDREN),
    "prefetch_multiplier": (1, "--prefetch-multiplier", "a worker takes a message only for a free slot"),
    "optimization": ("default", "-O", "a worker takes a message only for a free slot, which is fair"),
    "beat": (False, "-B", "periodic tasks are not supported yet; submit them from cron"),
}
_BROKER_VARIABLES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


def check(options: Mapping[str, Any], pool: Any) -> None:
    """Refuse what a worker cannot honour. Raises SettingsError."""
    if "thread" not in str(getattr(pool, "__module__", pool)):
        raise SettingsError("the pool must be threads: start the worker with -P threads, or without -P")
    for name, (default, option, remedy) in _REFUSED.items():
        if options.get(name) not in (default, None):
            raise SettingsError(f"{option} is not supported: {remedy}")
    if given := [name for name in _BROKER_VARIABLES if os.environ.get(name)]:
        # Celery's own option -b sets the first one.
        raise SettingsError(f"-b and {given[0]} are not supported: set FERRYMAN_BROKER_URL")


def check_queues(names: Iterable[str]) -> None:
    """Refuse names that no task can have. Raises SettingsError."""
    for name in names:
        if fault := queue_fault(name):
            raise SettingsError(f"-Q: {fault}: {fault.hint}; separate queues by a comma alone (-Q a,b)")
