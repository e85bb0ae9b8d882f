"""`ferryman db upgrade`: create or upgrade the database, and print its installation id."""

from __future__ import annotations

import click

from engine.cli import processes, screen
from engine.settings import Settings, without_password
from engine.telemetry import patience


@click.group("db")
def db_command() -> None:
    """Create or upgrade the database that FERRYMAN_DATABASE_URL names."""


@db_command.command("upgrade")
def upgrade_command() -> None:
    """Upgrade the schema to this version, or create it. Safe to repeat, and while a server runs."""
    from engine.store.database import Database

    with processes.server_exit_status():
        settings = Settings.from_env()
        database = Database(settings.store)
        try:
            say, seconds = screen.print_error, settings.patience_seconds
            installation = patience.wait_for("the database", database.open, say, seconds)
        finally:
            database.close()
    screen.print_line(
        f"{without_password(settings.store.database_url)}: up to date, installation {installation}"
    )
