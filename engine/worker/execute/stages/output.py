"""Stage: bound what the link writes to its output directory."""

from __future__ import annotations

from dataclasses import replace

from engine.runtime.base import Cause, Outcome
from engine.worker.daemon.output_watch import WatchedLink
from engine.worker.execute.stages.base import Stage


class OutputLimit(Stage):
    """Watch on the output directory, which ends a link that writes too much and makes room when it has ended."""

    def before(self) -> None:
        self._link = WatchedLink(self.run.control, lambda: self.run.prepared)
        self.run.context.outputs.add(self._link)

    def after(self) -> None:
        """Empty the output of a link that was ended for it: on a full disk, its log and its end need the room."""
        run, link = self.run, self._link
        run.context.outputs.remove(link)
        if link.reason and run.prepared is not None:
            run.context.runtime.empty_output(run.prepared)

    def amend(self, outcome: Outcome) -> Outcome:
        """Fail a link that wrote too much, whether the watch ended it or it ended first."""
        link, reason = self._link, ""
        if outcome.cause is Cause.OUTPUT or (outcome.ok and link.is_over):
            reason = link.reason
        elif outcome.ok:
            reason = self.run.context.outputs.excess(link)
        if not reason:
            return outcome
        return replace(outcome, exit_code=outcome.exit_code or 1, cause=Cause.OUTPUT, message=reason)
