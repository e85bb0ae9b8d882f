"""Stage: store the container's output."""

from __future__ import annotations

from engine.errors import StoreUnavailable
from engine.runtime.base import Outcome
from engine.worker.execute.log_writer import LogWriter
from engine.worker.execute.stages.base import Stage


class StoredLog(Stage):
    """Log writer of the link, set as the sink of its run."""

    def before(self) -> None:
        """Open the writer where the stored log ends. Raise StoreUnavailable."""
        run = self.run
        self._writer = LogWriter(run.context.installation, run.assignment, run.control)
        run.sink = self._writer

    def after(self) -> None:
        self._writer.close()

    def amend(self, outcome: Outcome) -> Outcome:
        """Raise StoreUnavailable while output is missing: the next owner stores the rest, then records the end."""
        if self._writer.is_behind:
            raise StoreUnavailable("the container's log is not stored yet")
        return outcome
