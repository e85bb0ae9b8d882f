"""Death of a worker whose tasks need host access that the other worker refuses: nothing fails, nothing is bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.jobspec import schema
from engine.jobspec.host_access import host_access_from
from engine.lifecycle.submit import submit
from engine.model.states import NodeState, TaskState
from tests.support.callers import TESTER
from tests.support.counting_task import repairs
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import Fleet, running_fleet
from tests.support.held_task import release
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.long]

CHAIN = """
name: through a bind
image: busybox:1.36
run: "echo begun; until [ -e /go ]; do sleep 0.1; done; echo main >> /shared/said"
post: [{{name: after, image: "busybox:1.36", run: "echo post >> /shared/said"}}]
mounts: [{{type: bind, source: {shared}, target: /shared}}]
retry: {{limit: 0}}
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Make a directory of the host that only some workers may bind."""
    made = tmp_path / "shared"
    made.mkdir()
    return made


@pytest.fixture
def patient_fleet(sqlite_url: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[Fleet]:
    """Start a fleet whose grace is long enough for another worker to come first on a busy machine."""
    require_docker(BUSYBOX)
    with running_fleet(tmp_path, sqlite_url, redis_server, grace_min_seconds=40) as made:
        yield made


def _submitted(fleet: Fleet, shared: Path) -> str:
    text = CHAIN.format(shared=shared).encode()
    spec = schema.check(text, "yaml", host_access_from((f"{shared}:rw",), (), fleet.settings.private_places))
    return submit(fleet.installation, TESTER, spec).id


def _begun(fleet: Fleet, task_id: str) -> str:
    wait_until(lambda: "begun\n" in fleet.log(task_id), 40)
    return fleet.links(task_id)[0].container_id or ""


def test_a_worker_with_access_comes_first_and_no_link_runs_twice(patient_fleet: Fleet, shared: Path) -> None:
    allowed = {"FERRYMAN_BIND_SOURCES": f"{shared}:rw"}
    doomed = patient_fleet.worker("-c", "1", **allowed)
    patient_fleet.worker("-Q", "narrow", "-c", "1")
    task_id = _submitted(patient_fleet, shared)
    container = _begun(patient_fleet, task_id)
    doomed.kill()
    # The other worker looks first, until this one has started.
    may = patient_fleet.worker("-Q", "another", "-c", "1", **allowed)
    (adopted,) = wait_until(lambda: repairs(patient_fleet, task_id), 60)
    (taker,) = [node.id for node in patient_fleet.nodes() if node.queues == may.queues]
    assert adopted.node == taker
    release(container)
    (task,) = patient_fleet.ended([task_id], 60)
    assert (task.state, task.origin, task.attempt) == (TaskState.COMPLETED, 1, 1), task.error
    assert (shared / "said").read_text() == "main\npost\n"


def test_a_worker_without_access_ends_the_running_link_and_gives_back_the_rest(
    sqlite_fleet: Fleet, shared: Path
) -> None:
    fleet, allowed = sqlite_fleet, {"FERRYMAN_BIND_SOURCES": f"{shared}:rw"}
    doomed = fleet.worker("-c", "1", **allowed)
    fleet.worker("-Q", "narrow", "-c", "1")
    task_id = _submitted(fleet, shared)
    container = _begun(fleet, task_id)
    doomed.kill()
    wait_until(lambda: repairs(fleet, task_id), 60)
    release(container)
    (given,) = wait_until(lambda: repairs(fleet, task_id, "given back"), 60)
    assert "this worker may not continue it" in (given.reason or "")
    assert (shared / "said").read_text() == "main\n", (
        "the link that ran was brought to its end, the next not begun"
    )
    fleet.worker("-c", "1", **allowed)
    wait_until(lambda: fleet.task(task_id).state is TaskState.RUNNING, 60)
    release(wait_until(lambda: _container_of(fleet, task_id, after=container), 60))
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 1), task.error
    assert (shared / "said").read_text() == "main\nmain\npost\n"
    assert [node.state for node in fleet.nodes()].count(NodeState.LIVE) == 2
    wait_until(lambda: not fleet.left_over(), 30)


def _container_of(fleet: Fleet, task_id: str, after: str) -> str:
    """Wait until the newer run of the main link has begun; return its container."""
    found = [link.container_id for link in fleet.links(task_id) if link.index == 0]
    fresh = [one for one in found if one and one != after]
    return fresh[0] if fresh and fleet.log(task_id).count("begun\n") == 2 else ""
