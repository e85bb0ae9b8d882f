"""Stage: kill the container when the link's time is over."""

from __future__ import annotations

import threading
from dataclasses import replace

from engine.runtime.base import Cause, Outcome
from engine.worker.execute.stages.base import Stage


class TimeLimit(Stage):
    """Timer that kills the link, if the link has a limit."""

    _timer: threading.Timer | None = None

    def before(self) -> None:
        seconds_left = self.run.assignment.seconds_left
        if seconds_left is not None:
            self._timer = threading.Timer(seconds_left, self.run.control.kill, (Cause.TIMEOUT,))
            self._timer.daemon = True
            self._timer.start()

    def after(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def amend(self, outcome: Outcome) -> Outcome:
        """Name the limit in the error of a link that timed out; its exit code is never 0."""
        if outcome.cause is not Cause.TIMEOUT:
            return outcome
        message = f"timed out after {self.run.assignment.bound}"
        return replace(outcome, exit_code=outcome.exit_code or 137, message=message)
