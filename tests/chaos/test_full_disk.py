"""Full disk under the data directory, with database and broker on it: what filled it ends, and nothing stands still."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client import ApiError, ApiUnavailable
from tests.support.databases import Postgres
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import Fleet, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.server_faults import small_disk
from tests.support.standalone import Standalone, standalone
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

MEGABYTES = 64
HELLO = f"name: hello\nimage: {BUSYBOX}\nrun: echo -n done > $FERRYMAN_OUTPUT\n"
#: A file that grows, a file that is open but has no name, and files without end.
FILLERS = {
    "file": "while :; do cat /dev/zero >> /ferryman/out/x; sleep 0.1; done",
    "unnamed": "exec 3> /ferryman/out/x; rm /ferryman/out/x; while :; do cat /dev/zero >&3; sleep 0.1; done",
}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Standalone]:
    """Run a stand-alone whose data directory, with database and broker, is a small disk."""
    require_docker(BUSYBOX)
    data = tmp_path / ".local" / "share" / "ferryman"
    with small_disk(data, MEGABYTES), standalone(tmp_path, "--queue", "default:3") as server:
        wait_until(lambda: (data / "reserve").exists(), 20)
        yield server


def filler(script: str) -> bytes:
    return f"name: filler\nimage: {BUSYBOX}\nrun: |\n  echo begun\n  {script}\nretry: {{limit: 0}}\n".encode()


def submitted(server: Standalone, text: bytes = HELLO.encode()) -> str:
    """Submit until the API takes it: a full disk is a 503 for now."""

    def attempt() -> str:
        try:
            return str(server.client.submit(text)["id"])
        except (ApiError, ApiUnavailable):
            return ""

    return wait_until(attempt, 40, 0.2)


def ended(server: Standalone, task_id: str, seconds: float) -> dict[str, object]:
    def task() -> dict[str, object] | None:
        answer = server.client.task(task_id)
        return answer if answer["state"] in ("COMPLETED", "FAILED", "CANCELLED") else None

    return wait_until(task, seconds, 0.1)


def free(server: Standalone) -> int:
    about = os.statvfs(server.data_dir)
    return about.f_bavail * about.f_frsize


@pytest.mark.parametrize("kind", FILLERS)
def test_a_task_that_fills_the_disk_ends_in_words_and_the_others_go_on(small: Standalone, kind: str) -> None:
    id, began = submitted(small, filler(FILLERS[kind])), time.monotonic()
    task = ended(small, id, 60)
    seconds = time.monotonic() - began
    assert task["state"] == "FAILED"
    assert f"the disk of the data directory {small.data_dir} is full" in str(task["error"])
    assert "MB of it is what this task wrote to its output directory" in str(task["error"])
    hello = ended(small, submitted(small), 40)
    assert (hello["state"], hello["result"]) == ("COMPLETED", "done")
    wait_until(lambda: not small.containers() and not list((small.data_dir / "work").glob("*/out")), 20)
    assert free(small) > (MEGABYTES - 16) << 20
    wait_until(lambda: (small.data_dir / "reserve").exists(), 10)
    assert seconds < 30


def test_a_task_can_be_cancelled_on_a_disk_that_somebody_else_filled_and_all_recovers(
    small: Standalone,
) -> None:
    id = submitted(small, filler("sleep 300"))
    wait_until(lambda: small.containers("running"), 40)
    with (small.data_dir / "stranger").open("wb") as stranger:
        while left := free(small):
            # The others write meanwhile: there may be less by now.
            with contextlib.suppress(OSError):
                os.posix_fallocate(stranger.fileno(), stranger.seek(0, os.SEEK_END), max(4096, left // 2))
    wait_until(lambda: not (small.data_dir / "reserve").exists(), 20)

    def is_cancelled() -> bool:
        try:
            small.client.cancel(id)
            return small.client.task(id)["state"] == "CANCELLED"
        except (ApiError, ApiUnavailable):
            return False

    wait_until(is_cancelled, 30, 0.2)
    wait_until(lambda: not small.containers(), 20)
    waiting = submitted(small)
    (node,) = small.client.nodes()
    assert [hold["kind"] for hold in node["holds"]] == ["data directory"]
    assert small.client.task(waiting)["state"] in ("PENDING", "SCHEDULED"), "the held node claims nothing"
    (small.data_dir / "stranger").unlink()
    assert ended(small, waiting, 40)["state"] == "COMPLETED"
    wait_until(lambda: (small.data_dir / "reserve").exists(), 10)
    assert not small.client.nodes()[0]["holds"]


def test_with_the_database_elsewhere_the_filler_ends_and_its_neighbour_is_spared(
    postgres_server: Postgres, tmp_path: Path, redis_server: RedisServer
) -> None:
    require_docker(BUSYBOX)
    with (
        small_disk(tmp_path / "data", MEGABYTES),
        running_fleet(tmp_path, postgres_server.new(), redis_server) as fleet,
    ):
        fleet.worker("-c", "2")
        fleet.worker("-c", "2", "-Q", "beside")
        neighbour = _neighbour(fleet)
        (id,) = fleet.submit(filler(FILLERS["file"]).decode())
        fleet.ended([id], 60)
        assert "what this task wrote to its output directory" in (fleet.task(id).error or "")
        (hello,) = fleet.submit(HELLO)
        fleet.ended([hello, neighbour], 60)
        assert (fleet.task(hello).error, fleet.task(neighbour).error) == (None, None)
        assert (fleet.task(hello).result, fleet.task(neighbour).result) == ("done", "begun\nspared")


def _neighbour(fleet: Fleet) -> str:
    """Run a task of another worker whose output is large, but smaller than the filler's; it ends later."""
    script = (
        "dd if=/dev/zero of=/ferryman/out/x bs=1024 count=4096 2>/dev/null; echo begun; sleep 12;"
        " rm /ferryman/out/x; printf spared"
    )
    (id,) = fleet.submit(f'name: beside\nimage: {BUSYBOX}\nqueue: beside\ncmd: [sh, -c, "{script}"]\n')
    wait_until(lambda: fleet.log(id) == "begun\n", 40)
    return id
