"""A database whose answers are lost, that hangs, is locked by another process or has no room, under real work."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.errors import StoreUnavailable
from engine.model.states import NodeState
from engine.settings import Settings, StoreSettings
from engine.store.database import Database
from engine.store.tables import tasks
from tests.support.api_server import running_api
from tests.support.databases import Postgres
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import DEFAULTS, Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.server_faults import (
    Cut,
    busy,
    completed_once,
    frozen,
    frozen_later,
    grow,
    lasting,
    repeating,
    small_disk,
)
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

HELLO = "name: hello\nimage: busybox:1.36\nrun: 'echo -n done > $FERRYMAN_OUTPUT'\n"


# Answers that are lost


@pytest.fixture
def proxy(postgres_server: Postgres) -> Iterator[Cut]:
    """Return the proxy between the fleet and its PostgreSQL."""
    made = Cut(postgres_server.port)
    yield made
    made.close()


@pytest.fixture
def proxied_fleet(
    proxy: Cut, postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Fleet]:
    """Start a fleet whose connection to PostgreSQL can be cut."""
    require_docker(BUSYBOX)
    url = postgres_server.new().replace(f":{postgres_server.port}/", f":{proxy.port}/")
    with running_fleet(tmp_path, url, redis_server) as made:
        yield made


#: Verb -> a statement that only its transaction sends to the server.
TRANSACTIONS = {
    "mark": b"sends=(tasks.sends",
    "claim": b"claimed",
    "confirm": b"main: container",
    "finish": b"COMPLETED",
}


#: The short ring has one of them.
_SHORT = ("finish", "after")


@pytest.mark.parametrize(
    ("verb", "when"),
    [
        pytest.param(verb, when, marks=() if (verb, when) == _SHORT else pytest.mark.long)
        for verb in TRANSACTIONS
        for when in ("before", "after")
    ],
)
def test_a_commit_whose_answer_is_lost_loses_and_doubles_nothing(
    proxied_fleet: Fleet, proxy: Cut, verb: str, when: str
) -> None:
    proxied_fleet.worker("-c", "1")
    proxy.arm(TRANSACTIONS[verb], when)
    (task_id,) = proxied_fleet.submit(HELLO)
    completed_once(proxied_fleet, [task_id], 60, "done")
    assert proxy.cuts == 1, "the fault was there"
    task = proxied_fleet.task(task_id)
    assert task.crashes == 0, proxied_fleet.story(task_id)


@pytest.mark.long
@pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
def test_a_submission_whose_commit_is_lost_is_refused_and_stored_whole_or_not_at_all(
    proxied_fleet: Fleet, proxy: Cut, when: str, stored: int
) -> None:
    proxied_fleet.worker("-c", "1")
    proxy.arm(b"INSERT INTO jobs", when)
    with pytest.raises(StoreUnavailable):
        proxied_fleet.submit(HELLO)
    assert proxy.cuts == 1
    # A task that was stored although its client did not learn it ends like any other.
    (known,) = proxied_fleet.submit(HELLO)
    with proxied_fleet.db.read() as c:
        ids = [row.id for row in c.execute(sa.select(tasks.c.id))]
    assert len(ids) == 1 + stored
    assert known in ids
    completed_once(proxied_fleet, ids, 60, "done")


@pytest.mark.long
def test_work_survives_connections_that_are_cut(on_postgres: Fleet, postgres_server: Postgres) -> None:
    ids = busy(on_postgres, 6)
    database = on_postgres.db.url.database
    cuts = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{database}' AND xact_start IS NOT NULL AND application_name = 'ferryman'"
    )
    with repeating(lambda: postgres_server.sql(cuts), 0.02):
        lasting(8)
    completed_once(on_postgres, ids, 90, "done")


# A server that hangs


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10, 40])
def test_work_survives_a_postgresql_that_hangs(
    on_postgres: Fleet, postgres_server: Postgres, seconds: float
) -> None:
    ids = busy(on_postgres)
    with frozen(postgres_server):
        lasting(seconds)
    completed_once(on_postgres, ids, 120, "done")
    assert all(on_postgres.task(id).crashes == 0 for id in ids)
    assert [node.state for node in on_postgres.nodes()] == [NodeState.LIVE]


@pytest.mark.long
@pytest.mark.parametrize("at", ["statement", "commit"])
def test_an_answer_that_never_comes_is_waited_for_only_so_long(postgres_server: Postgres, at: str) -> None:
    db = Database(StoreSettings(database_url=postgres_server.new(), store_timeout_seconds=1.0))
    statement = sa.select(sa.func.count()).select_from(tasks)
    with frozen_later(postgres_server) as freeze:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"no answer for 3 s: the server hangs"), db.begin() as c:
            c.execute(statement)
            freeze()
            if at == "statement":
                c.execute(statement)
        print(f"given up after {time.monotonic() - began:.1f} s")
    with db.read() as c:
        assert c.scalar(statement) == 0, "and then all goes on"
    db.close()


def test_an_api_over_a_postgresql_that_hangs_says_503_in_its_time(
    postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer
) -> None:
    settings = Settings.from_env(
        {},
        data_dir=str(tmp_path),
        database_url=postgres_server.new(),
        broker_url=redis_server.url,
        broker_prefix=f"{tmp_path.name}:",
        store_timeout_seconds=1.0,
    )
    with running_api(settings) as api:
        assert _post(api.url).status == 201
        with frozen(postgres_server):
            for answer in [_post(api.url) for _ in range(3)]:
                assert (answer.status, answer.retry_after) == (503, "1"), answer
                assert answer.seconds < 30, answer
                print(f"503 after {answer.seconds:.1f} s")
            with urllib.request.urlopen(f"{api.url}/health", timeout=10) as alive:
                assert alive.status == 200
        wait_until(lambda: _post(api.url).status == 201, 30)


@dataclass(frozen=True)
class Answer:
    """Answer of the API to a submission."""

    status: int
    retry_after: str | None
    task_id: str | None
    seconds: float


def _post(url: str) -> Answer:
    asked = urllib.request.Request(f"{url}/task", HELLO.encode(), {"Content-Type": "text/yaml"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            task_id = str(json.load(answer)["id"])
            return Answer(answer.status, None, task_id, time.monotonic() - began)
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.headers["Retry-After"], None, time.monotonic() - began)


# A server that is read-only

#: 200 lines in about 8 s: the container goes on after the fault.
CHATTY = """
name: chatty
image: busybox:1.36
run: |
  for i in $(seq 200); do echo line $i; usleep 40000; done
  echo -n done > $FERRYMAN_OUTPUT
"""


@contextmanager
def _read_only(server: Postgres) -> Iterator[None]:
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    server.sql("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        server.sql("ALTER SYSTEM RESET default_transaction_read_only")
        server.sql("SELECT pg_reload_conf()")


def test_a_postgresql_that_is_read_only_costs_no_line_and_no_end(
    postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer
) -> None:
    require_docker(BUSYBOX)
    with (
        running_fleet(tmp_path, postgres_server.new(), redis_server, **DEFAULTS) as fleet,
        running_api(fleet.settings) as api,
    ):
        fleet.worker("-c", "3")
        ids = fleet.submit(CHATTY, 3)
        wait_until(lambda: all("line 20\n" in fleet.log(id) for id in ids), 60)
        with _read_only(postgres_server):
            answer = _post(api.url)
            assert (answer.status, answer.retry_after) == (503, "1"), answer
            lasting(2)
        completed_once(fleet, ids, 90, "done")
        for id in ids:
            assert fleet.log(id) == "".join(f"line {n}\n" for n in range(1, 201))


# A file that is locked by another


@contextmanager
def _locked(path: str) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None, timeout=60)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.long
def test_work_survives_a_sqlite_that_another_locks(on_sqlite: Fleet) -> None:
    fleet = on_sqlite
    ids = busy(fleet)
    with running_api(fleet.settings.replace(store_timeout_seconds=2.0)) as api:
        with _locked(str(fleet.db.url.database)):
            end = time.monotonic() + 20
            answer = _post(api.url)
            assert (answer.status, answer.retry_after) == (503, "1")
            assert answer.seconds < 15, "its bound is 2 s, on a machine that has nothing else to do"
            with urllib.request.urlopen(f"{api.url}/task/{ids[0]}", timeout=10) as read:
                assert read.status == 200, "readers wait for nobody"
            lasting(max(0.0, end - time.monotonic()))
        accepted = wait_until(lambda: _post(api.url).task_id, 30)
        completed_once(fleet, [*ids, accepted], 90, "done")


# A disk without room

LINES = 50_000
LOUD = f"""
name: loud
image: busybox:1.36
run: |
  awk 'BEGIN {{ for (i = 1; i <= {LINES}; i++) printf "%0120d\\n", i }}'
  echo -n done > $FERRYMAN_OUTPUT
"""


@pytest.mark.long
def test_a_disk_that_is_full_of_logs_costs_the_wait_until_there_is_room(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    require_docker(BUSYBOX)
    data = tmp_path / "small"
    with (
        small_disk(data, 4),
        running_fleet(tmp_path, f"sqlite:///{data}/ferryman.db", redis_server) as fleet,
        running_api(fleet.settings) as api,
    ):
        fleet.worker("-c", "1")
        ids = fleet.submit(LOUD) + fleet.submit(HELLO)
        wait_until(lambda: shutil.disk_usage(data).free < 1 << 16, 60)
        answers = [_post(api.url) for _ in range(3)]
        # A few pages may be free inside the file.
        assert {answer.status for answer in answers} <= {201, 503}
        assert all(answer.retry_after for answer in answers if answer.status == 503)
        with urllib.request.urlopen(f"{api.url}/task/{ids[0]}", timeout=10) as read:
            assert read.status == 200
        lasting(5)
        grow(data, 64)
        ids += [answer.task_id for answer in answers if answer.task_id]
        completed_once(fleet, ids, 120, "done")
        whole = "".join(f"{n:0120}\n" for n in range(1, LINES + 1))
        assert fleet.log(ids[0]) == whole, "without a gap and without a cut"
