"""`celery -A engine inspect ferryman`: facts about a node that Celery's own `inspect` cannot know.

The command is declared here, where the command line finds it without the worker's room; a worker answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.control import inspect_command

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
