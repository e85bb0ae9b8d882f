"""App for Celery's command line: `celery -A engine worker -Q transcoding -c 3`."""

from __future__ import annotations

import os
import sys

from celery import Celery

from engine.dispatch import control
from engine.dispatch.app import build_app
from engine.errors import SettingsError
from engine.settings import Settings

#: `control` is imported so that the command line knows `inspect ferryman`.
__all__ = ["app", "control"]


def _build() -> Celery:
    try:
        return build_app(Settings.from_env().broker)
    except SettingsError as exc:
        # Celery would show a traceback, and exit with another status.
        print(f"ferryman worker: {exc}", file=sys.stderr, flush=True)
        sys.exit(os.EX_CONFIG)


app = _build()
