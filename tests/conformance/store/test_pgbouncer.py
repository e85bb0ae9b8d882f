"""pgbouncer before PostgreSQL: in session mode everything works, other modes are refused in a sentence."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from engine.errors import SettingsError, StoreUnavailable
from engine.lifecycle.claim import claim
from engine.settings import Settings
from engine.store.database import Database
from tests.support.callers import by
from tests.support.databases import Postgres
from tests.support.pgbouncer import running_pgbouncer
from tests.support.verb_world import World


def _settings(server: Postgres, port: int, tmp_path: Path) -> Settings:
    url = sa.engine.make_url(server.new()).set(port=port).render_as_string(hide_password=False)
    return Settings.from_env({}, data_dir=str(tmp_path), database_url=url, store_timeout_seconds=1.5)


def test_session_mode_serves_with_the_time_outs_of_each_session(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    with running_pgbouncer(postgres_server, "session") as port:
        settings = _settings(postgres_server, port, tmp_path)
        db = Database(settings.store)
        world = World(db, settings, db.open())
        node, tasks = world.live(), [world.scheduled() for _ in range(12)]
        with ThreadPoolExecutor(4) as pool:
            # More often than psycopg needs to prepare a statement.
            claims = list(pool.map(lambda task: claim(world.installation, by(node), task.token), tasks))
        assert all(claims)
        with db.read() as c:
            bounds = [
                c.exec_driver_sql(f"SHOW {name}").scalar() for name in ("lock_timeout", "statement_timeout")
            ]
        assert bounds == ["1500ms", "1500ms"]
        with pytest.raises(StoreUnavailable, match="statement timeout"), db.begin() as c:
            c.exec_driver_sql("SELECT pg_sleep(5)")
        db.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_mode_that_shares_sessions_is_refused_and_leaves_no_setting(
    postgres_server: Postgres, tmp_path: Path, mode: str
) -> None:
    with running_pgbouncer(postgres_server, mode) as port:
        settings = _settings(postgres_server, port, tmp_path)
        db = Database(settings.store)
        with pytest.raises(SettingsError, match=r"pooler that shares sessions .* set pool_mode = session"):
            db.open()
        other = sa.engine.make_url(settings.store.database_url).set(drivername="postgresql")
        with psycopg.connect(other.render_as_string(hide_password=False), autocommit=True) as c:
            assert c.execute("SHOW statement_timeout").fetchone() == ("0",), "sessions are others' too"
        db.close()


def test_transaction_mode_is_refused_while_others_use_the_sessions(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    with running_pgbouncer(postgres_server, "transaction") as port:
        settings = _settings(postgres_server, port, tmp_path)
        name = sa.engine.make_url(settings.store.database_url).database
        done = threading.Event()

        def use() -> None:
            where = f"host=127.0.0.1 port={port} user=postgres dbname={name}"
            with psycopg.connect(where, autocommit=True, prepare_threshold=None) as c:
                while not done.is_set():
                    c.execute("SELECT pg_sleep(0.002)")

        with ThreadPoolExecutor(6) as pool:
            users = [pool.submit(use) for _ in range(6)]
            try:
                for _ in range(5):
                    db = Database(settings.store)
                    with pytest.raises(SettingsError, match="pooler that shares sessions"):
                        db.open()
                    db.close()
            finally:
                done.set()
            for user in users:
                user.result(10)
