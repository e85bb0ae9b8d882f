"""App for Celery's command line: `celery -A engine worker -Q transcoding -c 3`."""

from __future__ import annotations

from engine.dispatch import control
from engine.dispatch.app import build_app
from engine.settings import Settings

#: `control` is imported so that the command line knows `inspect ferryman`.
__all__ = ["app", "control"]

app = build_app(Settings.from_env().broker)
