"""Containers, volumes and images of other people that bear labels of Ferryman: they are left alone."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from engine.model import names
from engine.model.records import RunKey
from engine.runtime.base import Control, Order
from engine.runtime.docker import labels, probes, shared_files
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.support.docker_daemon import BUSYBOX, KeepingSink

Orders = Callable[..., Order]
Theirs = Callable[..., str]


@pytest.fixture
def somebody(docker: Client) -> Iterator[Theirs]:
    """Return a function that starts somebody's container from an image; they are removed at the end."""
    ids = []

    def start(image: str, **values: object) -> str:
        name = f"my-debugging-{uuid.uuid4().hex[:8]}"
        made = docker.api.create_container(image, entrypoint="sleep", command=["600"], name=name, **values)
        ids.append(made["Id"])
        docker.api.start(made["Id"])
        return str(made["Id"])

    yield start
    for id in ids:
        docker.api.remove_container(id, force=True)


@pytest.fixture
def committed(docker: Client) -> Iterator[Callable[[str], str]]:
    """Return a function that commits a container to an image; the images are removed at the end."""
    tags = []

    def commit(container_id: str) -> str:
        tag = uuid.uuid4().hex[:8]
        docker.api.commit(container_id, "debugging", tag)
        tags.append(f"debugging:{tag}")
        return tags[-1]

    yield commit
    for tag in tags:
        docker.api.remove_image(tag, force=True)


def is_running(docker: Client, container_id: str) -> bool:
    """Return True if the container runs."""
    return bool(docker.api.inspect_container(container_id)["State"]["Running"])


@pytest.mark.parametrize("is_newer", [False, True], ids=["older run", "newer run"])
def test_a_container_made_from_a_commit_of_a_link_is_left_alone(
    runtime: DockerRuntime,
    order: Orders,
    docker: Client,
    somebody: Theirs,
    committed: Callable[[str], str],
    is_newer: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    first = order(run="sleep 60", attempt=2 if is_newer else 1)
    prepared = runtime.prepare(first, KeepingSink(), Control())
    docker.api.start(prepared.container_id)
    theirs = somebody(committed(prepared.container_id))
    assert [resource.id for resource in runtime.list()] == [prepared.container_id]
    runtime.list()
    told = [record.getMessage() for record in caplog.records if "is left alone" in record.getMessage()]
    assert len(told) == 1 and "my-debugging-" in told[0] and "somebody else's" in told[0]
    assert runtime.remove(runtime.list()) == 1
    # Another attempt looks for former and newer runs of the task by label.
    other = replace(first, run=RunKey(first.run.task_id, 1 if is_newer else 2, 1), delivery=2)
    runtime.prepare(other, KeepingSink(), Control())
    assert is_running(docker, theirs)


def test_a_container_made_from_a_commit_of_a_sandbox_is_left_alone(
    runtime: DockerRuntime, docker: Client, installation: str, somebody: Theirs
) -> None:
    name = names.sandbox(installation, "n" * 16, 1)
    runtime.sandboxes.make(name, "n" * 16)
    theirs = somebody(BUSYBOX, labels=labels.of_sandbox(installation, "n" * 16))
    assert [(resource.kind, resource.name) for resource in runtime.list()] == [("sandbox", name)]
    assert is_running(docker, theirs)


def test_one_unreadable_label_stops_nothing_else(
    runtime: DockerRuntime, order: Orders, docker: Client, somebody: Theirs
) -> None:
    wanted = order(run="true")
    texts = labels.of_container(wanted)
    bad = somebody(BUSYBOX, labels={**texts, names.DELIVERY: "many"})
    somebody(BUSYBOX, labels={**texts, names.ATTEMPT: "first"})
    somebody(BUSYBOX, labels={names.INSTALLATION: wanted.installation, names.KIND: "another"})
    docker.api.rename(bad, f"{wanted.name}-bad")
    runtime.prepare(wanted, KeepingSink(), Control())
    assert [resource.name for resource in runtime.list()] == [wanted.name]
    assert runtime.remove(runtime.list()) == 1
    assert is_running(docker, bad)


def test_a_volume_with_our_labels_and_another_name_is_left_alone(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order()
    name = f"my-data-{uuid.uuid4().hex[:8]}"
    docker.api.create_volume(name, labels=labels.of_volume(wanted))
    try:
        assert runtime.list() == []
    finally:
        docker.api.remove_volume(name)


def test_a_copy_of_a_probe_is_left_alone(
    runtime: DockerRuntime,
    docker: Client,
    docker_settings: Settings,
    installation: str,
    somebody: Theirs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "_OLD_SECONDS", -60)
    theirs = somebody(BUSYBOX, labels=labels.of_probe(installation))
    image = docker.api.commit(
        theirs,
        "debugging",
        "probe",
        changes=[f"LABEL {names.KIND}=probe {names.INSTALLATION}={installation}"],
    )["Id"]
    abandoned = f"ferryman-{installation}-probe-{'0' * 32}"
    docker.api.create_container(BUSYBOX, name=abandoned, labels=labels.of_probe(installation))
    try:
        assert shared_files.probe(docker, docker_settings.path, installation, runtime._host.troubles), (
            "this worker shares its files"
        )
        assert is_running(docker, theirs)
        assert docker.api.inspect_image(image)
        assert not docker.api.containers(all=True, filters={"name": abandoned})
    finally:
        docker.api.remove_image("debugging:probe", force=True)
