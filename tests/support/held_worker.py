"""The plain worker that a test holds at named steps: one thread stops at each step, all others go on.

A step is a failpoint (engine.failpoints); the first thread that reaches it waits instead of dying.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from celery.__main__ import main

from engine import failpoints
from tests.support.waiting import wait_until

MODULE = "tests.support.held_worker"
_FOLDER = "HOLD_FOLDER"
#: A test that forgot to let it go on: the worker leaves, and is seen to.
_LONGEST_SECONDS = 90.0


class Holds:
    """The test's side: arm a step, wait until a thread has reached it, release the thread."""

    def __init__(self, folder: Path, *steps: str) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        for step in steps:
            self.arm(step)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the worker needs."""
        return {_FOLDER: str(self._folder)}

    def arm(self, step: str) -> None:
        """Stop the next thread that reaches this step."""
        (self._folder / step).touch()

    def wait_for(self, step: str, seconds: float = 60.0) -> None:
        """Wait until a thread has stopped at this step."""
        wait_until((self._folder / f"{step}.held").exists, seconds)

    def release(self, steps: Sequence[str]) -> None:
        """Let the threads at these steps go on."""
        for step in steps:
            (self._folder / f"{step}.held").unlink()


def held(name: str) -> None:
    """Stop here, if this step is armed and no thread has stopped here before."""
    armed, mark = (Path(os.environ[_FOLDER]) / file for file in (name, f"{name}.held"))
    try:
        armed.rename(mark)
    except FileNotFoundError:
        return
    end = time.monotonic() + _LONGEST_SECONDS
    while mark.exists():
        if time.monotonic() > end:
            os._exit(3)
        time.sleep(0.02)


if __name__ == "__main__":
    failpoints.hit = held
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
