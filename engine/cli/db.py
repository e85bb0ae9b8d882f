"""`ferryman db upgrade`: make or bring up to date the database, and say whose it is."""

from __future__ import annotations

import click

from engine.cli import screen
from engine.settings import Settings, without_password


@click.group("db", short_help="Prepare the database.")
def db_command() -> None:
    """The database that FERRYMAN_DATABASE_URL names."""


@db_command.command("upgrade")
def upgrade_command() -> None:
    """Bring the schema to this version; an empty database is filled. Safe to run again, and beside a server."""
    from engine.store.database import Database

    settings = Settings.from_env()
    database = Database(settings.store)
    try:
        installation = database.open()
    finally:
        database.close()
    screen.say(f"{without_password(settings.store.database_url)}: up to date, installation {installation}")
