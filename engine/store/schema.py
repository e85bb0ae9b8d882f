"""Bring a database to the newest schema by Alembic's migrations, or refuse it in a sentence."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.errors import SchemaMismatch


def upgrade(connection: sa.Connection) -> None:
    """Apply what is missing, in the caller's transaction.

    Raises SchemaMismatch when the database was made by a newer Ferryman.
    """
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    newest = scripts.get_current_head()
    if current == newest:
        return
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatch(
            f"this database has schema {current}, which this Ferryman does not know: "
            "it was made by a newer one; upgrade this process, or give it a database of its own"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
