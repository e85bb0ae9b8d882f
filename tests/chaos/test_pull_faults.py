"""Workers that die, or are told to stop, while an image is being pulled from a slow registry."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator

import docker
import pytest

from engine.lifecycle.cancel import cancel
from engine.model.states import TaskState
from tests.support.callers import TESTER
from tests.support.counting_task import repairs
from tests.support.docker_daemon import BUSYBOX
from tests.support.fleet import Fleet
from tests.support.registry import Registry, running_registry
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

TASK = """
name: far image
image: IMAGE
run: "echo pulled; cat /data/pre; echo -n kept > $FERRYMAN_OUTPUT"
pre:
  - {name: near, image: "busybox:1.36", run: "echo from pre > /data/pre"}
volumes: [/data]
retry: {limit: 0}
"""
PLAIN = (
    'name: far image\nimage: IMAGE\nrun: "echo pulled; echo -n kept > $FERRYMAN_OUTPUT"\nretry: {limit: 0}\n'
)


def _runnable() -> bytes:
    """Return the files of busybox as a tar that no other test has pulled."""
    client = docker.from_env(timeout=30)
    container = client.containers.create(BUSYBOX)
    tree = io.BytesIO(b"".join(container.export()))
    container.remove()
    client.close()
    salt = uuid.uuid4().bytes
    with tarfile.open(fileobj=tree, mode="a") as tar:
        info = tarfile.TarInfo("salt")
        info.size = len(salt)
        tar.addfile(info, io.BytesIO(salt))
    return tree.getvalue()


@pytest.fixture
def registry(fleet: Fleet) -> Iterator[Registry]:
    """Start a registry that holds its image back until its gate is opened."""
    with running_registry(_runnable()) as made:
        made.gate.clear()
        yield made
        made.gate.set()
        for worker in fleet.workers:
            if worker.process.poll() is None:
                worker.kill()
        fleet.runtime().remove(fleet.left_over())
        client = docker.from_env(timeout=30)
        if client.images.list(name=made.image.rpartition(":")[0]):
            client.images.remove(made.image, force=True)
        client.close()


def _pulling(fleet: Fleet, registry: Registry, text: str, count: int = 1) -> str:
    """Submit, and wait until the registry was asked this many times for the image's layer."""
    (task_id,) = fleet.submit(text.replace("IMAGE", registry.image))
    wait_until(lambda: registry.layers >= count, 60)
    return task_id


@pytest.mark.long
@pytest.mark.parametrize("is_first", [True, False], ids=["the first link", "after a pre"])
def test_kill_9_while_an_image_is_pulled_costs_no_retry(
    fleet: Fleet, registry: Registry, is_first: bool
) -> None:
    doomed = fleet.worker("-c", "1")
    task_id = _pulling(fleet, registry, PLAIN if is_first else TASK)
    doomed.kill()
    asked = registry.layers
    fleet.worker("-c", "1")
    wait_until(lambda: registry.layers > asked, 60)
    assert fleet.task(task_id).state is TaskState.RUNNING
    registry.gate.set()
    (task,) = fleet.ended([task_id], 60)
    said = fleet.story(task_id)
    assert (task.state, task.attempt, task.crashes, task.result) == (TaskState.COMPLETED, 1, 1, "kept"), said
    # The first link had nothing on the daemon: the chain starts again. After a pre, the volume leads to an adopter.
    assert bool(repairs(fleet, task_id, "started again")) is is_first, said
    assert bool(repairs(fleet, task_id, "adopted")) is not is_first, said
    assert fleet.log(task_id) == ("pulled\n" if is_first else "pulled\nfrom pre\n")
    wait_until(lambda: not fleet.left_over(), 40)


@pytest.mark.long
def test_a_cancel_while_an_image_is_pulled_ends_the_pull(fleet: Fleet, registry: Registry) -> None:
    fleet.worker("-c", "1")
    task_id = _pulling(fleet, registry, TASK)
    cancel(fleet.installation, TESTER, task_id)
    # The registry still holds the layer back: the slot is free only if the pull was given up.
    ended = fleet.ended(fleet.submit("name: next\nimage: busybox:1.36\ncmd: ['true']\n"), 60)
    assert [task.state for task in ended] == [TaskState.COMPLETED]
    assert fleet.task(task_id).state is TaskState.CANCELLED
    wait_until(lambda: not fleet.left_over(), 40)


@pytest.mark.long
def test_a_time_out_that_comes_while_an_image_is_pulled_is_said_as_one(
    fleet: Fleet, registry: Registry
) -> None:
    fleet.worker("-c", "1")
    task_id = _pulling(fleet, registry, PLAIN + "timeout: 6s\n")
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.error) == (TaskState.FAILED, "main: timed out after 6s")
    wait_until(lambda: not fleet.left_over(), 40)
