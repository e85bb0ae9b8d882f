"""Opening a database: whoever comes first fills it, a newer schema is refused, the two schemas are one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.errors import SchemaMismatch, StoreUnavailable
from engine.settings import Settings, StoreSettings
from engine.store import tables, upgrade
from engine.store.database import Database
from tests.support.databases import KINDS


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a database that nobody has filled."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/new/ferryman.db"
    else:
        url = str(request.getfixturevalue("postgres_server").new(empty=True))
    return Settings.from_env({}, data_dir=str(tmp_path / "data"), database_url=url)


def test_eight_first_comers_at_once_make_one_installation(empty: Settings) -> None:
    together = threading.Barrier(8)

    def come() -> str:
        db = Database(empty.store)
        together.wait(10)
        try:
            return db.open()
        finally:
            db.close()

    with ThreadPoolExecutor(8) as pool:
        ids = {each.result(60) for each in [pool.submit(come) for _ in range(8)]}
    assert len(ids) == 1


def test_a_newer_schema_is_refused_in_a_sentence(empty: Settings) -> None:
    db = Database(empty.store)
    db.open()
    with db.begin() as c:
        c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="has schema 9999, which this Ferryman does not know"):
        db.open()
    db.close()


def test_the_newest_schema_is_that_of_the_last_migration() -> None:
    assert ScriptDirectory.from_config(upgrade._config()).get_heads() == [upgrade.NEWEST]


def test_the_migrations_make_what_the_tables_say(empty: Settings) -> None:
    db = Database(empty.store)
    db.open()
    with db.begin() as c:
        differences = compare_metadata(MigrationContext.configure(c), tables.metadata)
    db.close()
    assert differences == []


def test_a_lock_that_is_held_too_long_is_said_in_time(empty: Settings) -> None:
    holder, waiter = Database(empty.store), Database(empty.replace(store_timeout_seconds=1.0).store)
    holder.open()
    with holder.begin() as c:
        c.execute(tables.lapses.update().values(last=7))
        with pytest.raises(StoreUnavailable), waiter.begin() as other:
            other.execute(tables.lapses.update().values(last=8))
    with waiter.read() as c:
        assert c.scalar(sa.select(tables.lapses.c.last)) == 7
    holder.close()
    waiter.close()


def test_a_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ferryman.db"
    settings = Settings.from_env({}, data_dir=str(path.parent))
    Database(settings.store).open()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_database_in_memory_is_one_for_readers_and_writers() -> None:
    db = Database(StoreSettings(database_url="sqlite://"))
    installation = db.open()
    with db.read() as c:
        assert c.scalar(sa.select(tables.installation.c.id)) == installation
    db.close()
