"""The plain worker with a planted fault: the body of a link named so raises what would kill a pool thread."""

from __future__ import annotations

import sys

from celery.__main__ import main

from engine.lifecycle.assignment import Assignment
from engine.lifecycle.finish import Finished
from engine.worker.context import WorkerContext
from engine.worker.execute import task

_carry = task.carry
_FAULTS: dict[str, type[BaseException]] = {
    "exit": SystemExit,
    "memory": MemoryError,
    "stop": KeyboardInterrupt,
}


def planted(context: WorkerContext, assignment: Assignment) -> Finished | None:
    """Raise what the task's name asks for; the adopter, which calls carry itself, carries it out later."""
    if assignment.task_name in _FAULTS:
        raise _FAULTS[assignment.task_name]("planted")
    return _carry(context, assignment)


if __name__ == "__main__":
    task.carry = planted
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
