"""Tasks that write as fast as they can: the node that reads them beats on time, as seen in its row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from engine.store import logs
from tests.bench.logs import worst_lateness
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.long]

CHATTY = "name: chatty\nimage: busybox:1.36\nrun: 'yes 0123456789012345678901234567890123456789012'\n"


@pytest.fixture
def default_fleet(sqlite_url: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """Start a fleet with the default lease: 5 s, and a beat each second."""
    require_docker(BUSYBOX)
    with running_fleet(
        tmp_path, sqlite_url, redis_server, lease_seconds=Settings().cluster.lease_seconds
    ) as made:
        yield made


def test_with_eight_chatty_tasks_no_beat_is_late_by_a_second(default_fleet: Fleet) -> None:
    default_fleet.worker("-c", "8")
    ids = default_fleet.submit(CHATTY, 8)

    def lines() -> list[int]:
        with default_fleet.db.read() as c:
            return [logs.head(c, id).lines for id in ids]

    wait_until(lambda: all(lines()), 120)
    before = sum(lines())
    late = worst_lateness(default_fleet, 15)
    assert sum(lines()) > before + 10_000, "they were not chatty: nothing is proved"
    assert late < 1.0
