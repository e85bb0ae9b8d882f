"""A long backlog in a broker that is emptied: all of it is sent again soon, and not over and over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.model.states import TaskState
from engine.store import tasks as rows
from engine.store.tables import tasks
from tests.support.databases import KINDS
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import DEFAULTS, Fleet, running_fleet
from tests.support.fleet_fixtures import store_url
from tests.support.redis_server import RedisServer
from tests.support.server_faults import WORK, empty, messages
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

#: Nobody serves this queue: the workers are there for their reconcilers.
WAITS = WORK.replace("name: work", "name: waits\nqueue: nobody")


@pytest.fixture(params=KINDS)
def default_fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Start a fleet with the default waits, over its own Redis."""
    require_docker(BUSYBOX)
    redis = RedisServer(tmp_path / "redis")
    with running_fleet(tmp_path, store_url(request), redis, **DEFAULTS) as fleet:
        yield fleet
    redis.stop()


def _count_sent(fleet: Fleet, after: int) -> int:
    """Count the SCHEDULED tasks that were sent after this time; the broker's losses do not count as sendings."""
    wanted = (tasks.c.state == TaskState.SCHEDULED, tasks.c.sends == 1, tasks.c.sent_at > after)
    with fleet.db.read() as c:
        return int(c.scalar(sa.select(sa.func.count()).select_from(tasks).where(*wanted)) or 0)


@pytest.mark.parametrize(
    ("default_fleet", "count", "workers"),
    [
        pytest.param("sqlite", 1000, 1),
        pytest.param("postgresql", 1000, 2, marks=pytest.mark.long),
        pytest.param("sqlite", 5000, 2, marks=pytest.mark.long),
        pytest.param("postgresql", 5000, 2, marks=pytest.mark.long),
    ],
    indirect=["default_fleet"],
)
def test_a_wiped_backlog_is_sent_again(default_fleet: Fleet, count: int, workers: int) -> None:
    fleet = default_fleet
    fleet.submit(WAITS, count)
    for _ in range(workers):
        fleet.worker("-c", "1")
    wait_until(lambda: _count_sent(fleet, 0) == count, 120, 0.1)
    with fleet.db.read() as c:
        emptied_at = rows.now(c)
    empty(fleet.redis)
    began = time.monotonic()
    wait_until(lambda: _count_sent(fleet, emptied_at) == count, 120, 0.1)
    took = time.monotonic() - began
    sent = messages(fleet, "nobody")
    print(f"{count} sent again after {took:.1f} s, in {sent} messages")
    assert sent >= count, "each"
    # A process may send what another is about to mark; a copy does no harm.
    assert sent < count * (workers + 2), "not round and round"
