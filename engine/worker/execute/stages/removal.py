"""Stage: remove the containers, volumes and sandbox of an attempt that has ended."""

from __future__ import annotations

from dataclasses import replace

from engine.lifecycle.finish import FollowUp
from engine.worker.execute.stages.base import Stage


class Removal(Stage):
    """Removal in the background, by the sweeper; a sandbox that the next attempt can use is kept."""

    def recorded(self, finished: FollowUp | None) -> None:
        """Hand the run to the sweeper when its last link ended, or when its end was refused."""
        context, order = self.run.context, self.run.assignment.order
        if finished is None:
            # Most likely cancelled: nobody owns its container and volume any more.
            context.sweeper.sweep_soon()
        elif finished.next_index is None:
            is_sandbox_kept = context.sandboxes.recycle(order)
            context.sweeper.remove_run(replace(order, sandbox=None) if is_sandbox_kept else order)
