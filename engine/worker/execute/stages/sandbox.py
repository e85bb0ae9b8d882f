"""Stage: make the sandbox that the claim reserved."""

from __future__ import annotations

from engine.worker.execute.stages.base import Stage


class ReservedSandbox(Stage):
    """Sandbox that the link's container joins, if its claim named one that does not exist yet."""

    def before(self) -> None:
        """Make the sandbox. Raise RuntimeUnavailable."""
        with self.run.control.timings.span("sandbox"):
            self.run.context.sandboxes.create_reserved(self.run.assignment.order)
