"""The plain worker with a planted fault: a task with a fault's name raises what would end a pool thread."""

from __future__ import annotations

import sys

from celery.__main__ import main

from engine.lifecycle.finish import FollowUp
from engine.worker.execute import task
from engine.worker.execute.link_run import LinkRun

_FAULTS: dict[str, type[BaseException]] = {
    "exit": SystemExit,
    "memory": MemoryError,
    "stop": KeyboardInterrupt,
}


class PlantedRun(LinkRun):
    """Run of a link in the pool's thread; adopted work uses LinkRun itself and succeeds."""

    def run(self) -> FollowUp | None:
        """Raise the exception that the task's name asks for."""
        if self.assignment.task_name in _FAULTS:
            raise _FAULTS[self.assignment.task_name]("planted")
        return super().run()


if __name__ == "__main__":
    task.LinkRun = PlantedRun  # type: ignore[misc]
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
