"""Installation: the first argument of every verb."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model import last_words
from engine.settings import Settings
from engine.store.database import Database


@dataclass(frozen=True)
class Installation:
    """Database, settings and id of an installation, as one process sees it. Made once at the process's start."""

    db: Database
    settings: Settings
    #: The installation's id, as the database has it.
    id: str

    @property
    def last_words_ms(self) -> int:
        """Milliseconds after a cancel in which the log and the exit code of the container are still taken."""
        settings = self.settings
        return last_words.window_ms(settings.cluster.beat_seconds, settings.runtime.kill_grace_seconds)
