"""Stage: the four moments of a link's run at which work around the container can be done."""

from __future__ import annotations

from typing import Protocol

from engine.lifecycle.assignment import Assignment
from engine.lifecycle.finish import FollowUp
from engine.runtime.base import Control, LogSink, Outcome, Prepared
from engine.worker.context import WorkerContext


class StagedRun(Protocol):
    """The part of a LinkRun (engine.worker.execute.link_run) that stages read and set."""

    context: WorkerContext
    assignment: Assignment
    control: Control
    #: Receiver of the container's output.
    sink: LogSink
    #: The link's container; None until the runtime has prepared one.
    prepared: Prepared | None


class Stage:
    """Concern around a link's container. A subclass overrides the moments that it needs."""

    def __init__(self, run: StagedRun) -> None:
        self.run = run

    def before(self) -> None:
        """Act before the container is prepared. An exception ends the run; `after` is then not called."""

    def after(self) -> None:
        """Release what `before` took, in reverse order: the container ended, or this thread let go of the link."""

    def amend(self, outcome: Outcome) -> Outcome:
        """Return the outcome to record; called only when the link has ended."""
        return outcome

    def recorded(self, finished: FollowUp | None) -> None:
        """Act on the committed end of the link; None: the end was refused."""
