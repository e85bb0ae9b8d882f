"""Opening a database: whoever comes first fills it, a newer schema is refused, the two schemas are one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.errors import SchemaMismatch, StoreUnavailable
from engine.settings import Settings, StoreSettings
from engine.store import log_lines, logs, tables, upgrade
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


def _insert(c: sa.Connection, table: str, **given: object) -> None:
    """A row of a table as it is now, whatever this Ferryman knows of it: zeros where a value must be."""
    found = sa.Table(table, sa.MetaData(), autoload_with=c, resolve_fks=False)
    zeros = {int: 0, str: "0", bool: False, object: {}, dict: {}}
    needed = {
        col.name: zeros[col.type.python_type]
        for col in found.columns
        if not col.nullable and col.name not in given
    }
    c.execute(found.insert().values(**needed, **given))


def test_a_log_that_was_cut_before_the_tail_was_kept_can_be_read_and_goes_on(empty: Settings) -> None:
    """The schema of the first migration, with a log whose end was cut, is brought to the newest."""
    db, id = Database(empty.store), "a" * 32
    db.open()  # makes the file; the schema is made again below
    db.close()
    with db.begin() as c:
        tables.metadata.drop_all(c)
        c.exec_driver_sql("DELETE FROM alembic_version")
        config = upgrade._config()
        config.attributes["connection"] = c
        command.upgrade(config, "0001")
        _insert(c, "installation", one=1, id="12345678")
        _insert(c, "jobs", id=id)
        _insert(c, "tasks", id=id, job_id=id)
        note = "Log gap: 4 bytes are kept of a task's (FERRYMAN_LOG_BYTES)\n"
        _insert(c, "log_chunks", task_id=id, seq=0, frames=f'[[1,"s","abc\\n"],[0,"s","{note[:-1]}\\n"]]')
        _insert(c, "log_heads", task_id=id, next_seq=1, next_line=2, bytes=4, cut_bytes=9)
    assert db.open() == "12345678"
    with db.begin() as c:
        assert [line.frame[2] for line in log_lines.page(c, id, 1, 9)[0]] == ["abc\n", note]
        # A writer of the newest release goes on with it.
        for number in range(5):
            logs._write(c, (id, 1, 1, 0), logs.piece([(1, "s", f"d{number}\n")]), 8)
        texts = [line.frame[2] for line in log_lines.page(c, id, 1, 9)[0]]
        assert texts[:2] == ["abc\n", note] and texts[3:] == ["d4\n"]
        assert "21 bytes of the log" in texts[2]
        assert logs.head(c, id) == logs.Head(7, 7, 21)
    db.close()


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
