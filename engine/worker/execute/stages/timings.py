"""Stage: report how long each span of the link took."""

from __future__ import annotations

from dataclasses import replace

from engine.runtime.base import Outcome, PreparedState
from engine.worker.execute.stages.base import Stage


class RecordedTimings(Stage):
    """Spans that this thread measured; of a container that another thread made, only the end."""

    def amend(self, outcome: Outcome) -> Outcome:
        assignment, prepared = self.run.assignment, self.run.prepared
        timings = dict(self.run.control.timings.in_ms())
        if prepared is not None and prepared.state is not PreparedState.CREATED:
            timings = {"ending": timings.get("ending", 0)}
        if assignment.order.sandbox is None:
            timings.pop("sandbox", None)
        if assignment.waited_ms is not None:
            timings = {"waiting": assignment.waited_ms, **timings}
        return replace(outcome, timings=timings)
