"""Log lines: one line for each event, with time, level and logger; never a task's text or a password."""

from __future__ import annotations

import logging
import sys
import time
from logging import handlers

from engine.wording.text import harmless
from engine.wording.url_secrets import without_password


class _HarmlessLines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        # A newline or escape sequence in a task's name must not look like a line of its own.
        # Libraries log addresses with their passwords.
        text = without_password(super().format(record))
        # Celery's own messages end with an empty line.
        return (
            text if record.exc_info else harmless(" ".join(text.split("\n")).rstrip(), keep="\t", instead="?")
        )


def configure(level: str | int, ours: str | int | None = None, file: str | None = None) -> None:
    """Log to standard error, or to a file, from `level` on; Ferryman's own loggers from `ours` on, if given.

    A file that was moved away (logrotate) is made again. Raises OSError when the file cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else handlers.WatchedFileHandler(file)
    handler.setFormatter(
        _HarmlessLines("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("ferryman").setLevel(level if ours is None else ours)
    for library in ("urllib3", "docker", "alembic", "kombu", "amqp"):
        logging.getLogger(library).setLevel(logging.WARNING)
