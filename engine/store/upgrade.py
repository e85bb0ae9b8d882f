"""Upgrade of a database to the newest schema, by Alembic's migrations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from engine.errors import SchemaMismatch

if TYPE_CHECKING:
    from alembic.config import Config

#: Number of the last migration in `engine/store/migrations/versions`.
NEWEST = "0003"


def to_newest(connection: sa.Connection) -> None:
    """Apply the migrations that are missing, in the caller's transaction.

    Raises SchemaMismatch when the database was made by a newer Ferryman.
    """
    current = _current(connection)
    if current == NEWEST:
        return
    # Imported late: Alembic is a sixth of a worker's start, and nearly every database is up to date.
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatch(
            f"this database has schema {current}, which this Ferryman does not know: "
            "it was made by a newer one; upgrade this process, or give it a database of its own"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _current(connection: sa.Connection) -> str | None:
    """Return the number of the last migration that was applied; None: no migration was."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if revision is None else str(revision)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
