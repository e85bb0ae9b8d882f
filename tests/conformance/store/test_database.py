"""Opening a database: whoever comes first fills it, a newer schema is refused, the two schemas are one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.errors import SchemaMismatch, SettingsError, StoreDamaged, StoreRefused, StoreUnavailable
from engine.model.records import PlannedLink
from engine.settings import Settings, StoreSettings
from engine.store import jobs, tables, tasks, upgrade
from engine.store.database import Database
from tests.support.databases import KINDS, Postgres


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Return the settings of an empty database."""
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


def test_the_tasks_of_an_older_schema_are_planned_by_the_upgrade(empty: Settings) -> None:
    spec = {
        "name": "n", "image": "main:1", "pre": [{"name": "get", "image": "pre:1"}],
        "post": [{"image": "post:1", "always": True}],
    }  # fmt: skip
    db = Database(empty.store)
    db.open()
    config = upgrade._config()
    with db.begin() as c:
        config.attributes["connection"] = c
        tables.metadata.drop_all(c)
        c.exec_driver_sql("DROP TABLE alembic_version")
        command.upgrade(config, "0002")
        c.exec_driver_sql(
            "INSERT INTO jobs (id, name, state, tags, created_at) VALUES ('j', 'n', 'PENDING', '[]', 1)"
        )
        c.exec_driver_sql(
            "INSERT INTO tasks (id, job_id, position, name, queue, priority, state, spec, not_before, attempt, "
            "delivery, origin, crashes, created_at, sends) VALUES "
            f"('t', 'j', 1, 'n', 'default', 0, 'PENDING', '{json.dumps(spec)}', 1, 1, 1, 0, 0, 1, 0)"
        )
    db.open()
    with db.read() as c:
        task, job = tasks.get(c, "t"), jobs.get(c, "j")
    db.close()
    assert task and task.plan == (
        PlannedLink("pre", "get", "pre:1", False),
        PlannedLink("main", "main", "main:1", False),
        PlannedLink("post", "post", "post:1", True),
    )
    assert job and job.task_count == 1


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


@pytest.fixture
def on_postgres(postgres_server: Postgres) -> Iterator[Database]:
    """Open a database on PostgreSQL."""
    db = Database(StoreSettings(database_url=postgres_server.cleared()))
    db.open()
    yield db
    db.close()


def _raising(state: str, message: str = "test") -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize(
    "state",
    [
        "25006",
        "25P02",
        "25P03",
        "26000",
        "42P05",
        "53100",
        "53200",
        "53300",
        "57014",
        "57P01",
        "57P03",
        "58030",
    ],
)
def test_a_server_that_cannot_serve_now_is_unavailable(on_postgres: Database, state: str) -> None:
    for transaction in (on_postgres.begin, on_postgres.read):
        with pytest.raises(StoreUnavailable, match="test"), transaction() as c:
            c.exec_driver_sql(_raising(state))
    with on_postgres.read() as c:
        assert c.scalar(sa.select(sa.literal(1))) == 1


def test_a_plan_that_a_migration_made_stale_is_unavailable_and_its_connection_replaced(
    on_postgres: Database,
) -> None:
    with on_postgres.read() as c:
        former = c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    with pytest.raises(StoreUnavailable), on_postgres.read() as c:
        c.exec_driver_sql(_raising("0A000", "cached plan must not change result type"))
    with on_postgres.read() as c:
        assert c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() != former


@pytest.mark.parametrize("state", ["0A000", "22012", "23505"])
def test_a_defect_is_not_called_unavailable(on_postgres: Database, state: str) -> None:
    with pytest.raises(sa.exc.DBAPIError), on_postgres.begin() as c:
        c.exec_driver_sql(_raising(state))


@pytest.mark.parametrize("state", ["XX001", "XX002"])
def test_damaged_data_of_postgresql_are_said_and_reported(on_postgres: Database, state: str) -> None:
    seen: list[StoreDamaged] = []
    on_postgres._on_damage = seen.append
    with (
        pytest.raises(StoreDamaged, match=r"the database is damaged .* restore a backup"),
        on_postgres.begin() as c,
    ):
        c.exec_driver_sql(_raising(state))
    assert len(seen) == 1 and not seen[0].may_come_back


def test_a_damaged_page_of_a_sqlite_file_is_said_and_reported(sqlite_url: str) -> None:
    seen: list[StoreDamaged] = []
    db = Database(StoreSettings(database_url=sqlite_url), on_damage=seen.append)
    db.open()
    with db.begin() as c:
        c.exec_driver_sql(
            "CREATE TABLE victim AS SELECT randomblob(900) AS x, 1 AS y FROM pragma_function_list"
        )
        page = c.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'victim'").scalar_one()
        size = c.exec_driver_sql("PRAGMA page_size").scalar_one()
    db.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StoreDamaged, match="database disk image is malformed"), db.read() as c:
        c.exec_driver_sql("SELECT sum(y) FROM victim").scalar_one()
    assert len(seen) == 1
    db.close()


@pytest.mark.parametrize("state", ["28P01", "28000", "3D000", "42501"])
def test_a_refusal_is_told_from_an_absence(on_postgres: Database, state: str) -> None:
    with pytest.raises(StoreRefused, match="correct FERRYMAN_DATABASE_URL"), on_postgres.begin() as c:
        c.exec_driver_sql(_raising(state))


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        ("postgres://u:geheim@h/d", "postgres"), ("postgresql://u:geheim@h/d", "postgresql"),
        ("mysql://u:geheim@h/d", "mysql"), ("geheim", "?"),
        ("postgresql+psycopg:geheim@h/d", "?"),
        ("postgresql+psycopg://u:geheim@h:port/d", "postgresql+psycopg"),
    ],
)  # fmt: skip
def test_a_url_that_is_none_of_the_two_databases_is_refused_without_its_password(
    url: str, begins: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Database(StoreSettings(database_url=url))
    assert str(caught.value).startswith(
        f"FERRYMAN_DATABASE_URL begins with '{begins}': expected postgresql+psycopg://"
    )
    assert "geheim" not in str(caught.value)


def test_a_read_only_server_is_unavailable_to_writers(on_postgres: Database) -> None:
    with pytest.raises(StoreUnavailable, match="read-only transaction"), on_postgres.begin() as c:
        c.exec_driver_sql("SET TRANSACTION READ ONLY")
        c.execute(tables.lapses.update().values(last=7))


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
