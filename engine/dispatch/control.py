"""Celery's remote control of a worker: `inspect ferryman`, and a refusal for each command that has no meaning here.

The commands are declared here, where the command line finds them without the worker's room; a worker answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.control import Panel, inspect_command

_answer: Callable[[], dict[str, Any]] | None = None


def answer_by(answer: Callable[[], dict[str, Any]]) -> None:
    """Set the function that answers in this process; called once, when a worker starts."""
    global _answer
    _answer = answer


@inspect_command()  # type: ignore[untyped-decorator, unused-ignore]
def ferryman(state: Any) -> dict[str, Any]:
    """Return the worker's node: id, state, queues, running tasks, adopted links, refused claims."""
    if _answer is None:
        return {"error": "this worker has not started yet: ask again"}
    return _answer()


#: Command of Celery -> why a Ferryman worker does not obey, and what to do instead.
REFUSED = {
    "pool_grow": "the number of slots is fixed: start the worker again with -c",
    "pool_shrink": "the number of slots is fixed: start the worker again with -c, or drain it",
    "pool_restart": "a worker has no child processes: send SIGHUP to start it again",
    "autoscale": "the number of slots is fixed: start the worker again with -c",
    "time_limit": "write timeout in the task, which bounds the attempt",
    "rate_limit": "limit a queue by the number of slots of its workers (-c)",
    "terminate": "cancel a task with: ferryman cancel ID",
}


def _refusal(sentence: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, *_: Any, **__: Any) -> dict[str, str]:
        return {"error": sentence}

    return refuse


for _name, _sentence in REFUSED.items():
    # The description of the command's arguments, in Panel.meta, stays Celery's.
    Panel.data[_name] = _refusal(_sentence)
