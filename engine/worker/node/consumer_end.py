"""Orderly leave for whatever ends Celery's consumer without a signal: `control shutdown`, Flower's button, a defect."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from engine.worker.context import get_context


class LeaveWithConsumer(bootsteps.StartStopStep):
    """Step of Celery's worker that is told first when the worker closes, after a signal too."""

    def close(self, worker: Any) -> None:
        """Leave as after SIGTERM. Without this the node would stay LIVE and then lapse, with crashes counted."""
        get_context().on_close(worker.exitcode or 0)
