"""What every verb is given: where the rows are, what was set, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass

from engine.settings import Settings
from engine.store.database import Database


@dataclass(frozen=True)
class Installation:
    """One process's view of its installation. Made once at its start."""

    db: Database
    settings: Settings
    #: The installation's id, as the database has it.
    id: str
