"""Pulls from a registry of the test's own: progress, cancelling, and a message for each failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine.errors import HostAccessDenied, Unstartable
from engine.jobspec.task import HostAccess
from engine.runtime.base import Cause, Control, Detached, Order, PreparedState
from engine.runtime.docker import images
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink
from tests.support.registry import Registry, running_registry
from tests.support.waiting import wait_until

Orders = Callable[..., Order]


@pytest.fixture
def registry(docker: Client, runtime: DockerRuntime) -> Iterator[Registry]:
    """Registry of the test's own; the pulled image is removed after its containers."""
    with running_registry() as served:
        yield served
        runtime.remove(runtime.list())
        if docker.api.images(name=served.image.rpartition(":")[0]):
            docker.api.remove_image(served.image, force=True)


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the waits between tries."""
    monkeypatch.setattr(images, "RETRY_SECONDS", (0.01, 0.01))


def test_a_missing_image_is_pulled_with_notes(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    sink = KeepingSink()
    prepared = runtime.prepare(order(image=registry.image), sink, Control())
    assert prepared.state is PreparedState.CREATED
    assert sink.notes[0] == f"pulling {registry.image}"
    assert sink.notes[-1].startswith(f"pulled {registry.image} in ")


def test_an_image_on_the_host_is_pulled_again_only_on_request(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    def prepare(pull: str) -> list[str]:
        sink = KeepingSink()
        runtime.prepare(order(image=registry.image, pull=pull), sink, Control())
        return sink.notes

    assert prepare("missing") and registry.manifests
    requests = registry.manifests
    assert prepare("missing") == [] and registry.manifests == requests
    assert prepare("always") and registry.manifests > requests


def test_an_image_that_the_registry_does_not_have_is_reported_at_once(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    registry.status = 404
    with pytest.raises(Unstartable, match=r"there is no image .* Check its name and tag"):
        runtime.prepare(order(image=registry.image), KeepingSink(), Control())
    assert registry.manifests <= 2


def test_a_registry_that_wants_credentials_is_distinguished_from_a_missing_image(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    registry.status = 401
    with pytest.raises(Unstartable, match=r"does not give out .* docker login"):
        runtime.prepare(order(image=registry.image), KeepingSink(), Control())


@pytest.mark.usefixtures("no_waits")
def test_a_broken_registry_is_asked_again_then_reported(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    registry.status = 503
    sink = KeepingSink()
    with pytest.raises(Unstartable, match="no registry answers"):
        runtime.prepare(order(image=registry.image), sink, Control())
    assert sum("trying again" in note for note in sink.notes) == 2


@pytest.mark.usefixtures("no_waits")
def test_a_registry_that_comes_back_serves_the_next_try(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    registry.status = 500

    class Healing(KeepingSink):
        def note(self, text: str) -> None:
            super().note(text)
            if "trying again" in text:
                registry.status = 200

    assert runtime.prepare(order(image=registry.image), Healing(), Control()).state is PreparedState.CREATED


@pytest.mark.usefixtures("no_waits")
def test_an_unreachable_registry_is_reported(runtime: DockerRuntime, order: Orders) -> None:
    with pytest.raises(Unstartable, match=r"no registry answers.*connection refused"):
        runtime.prepare(order(image="127.0.0.1:1/nothing/here:1"), KeepingSink(), Control())


def test_an_answer_that_is_no_registrys_is_never_quoted(
    runtime: DockerRuntime, order: Orders, registry: Registry
) -> None:
    registry.status, registry.page = 403, b"{internal secret page!!}"
    sink = KeepingSink()
    with pytest.raises(Unstartable, match="not a registry's") as refused:
        runtime.prepare(order(image=registry.image), sink, Control())
    assert "secret" not in str(refused.value) + "".join(sink.notes)


def test_a_worker_refuses_a_registry_on_its_own_host(
    make_runtime: Callable[..., DockerRuntime], order: Orders, registry: Registry
) -> None:
    worker, wanted = make_runtime(HostAccess()), order(image=registry.image)
    with pytest.raises(HostAccessDenied, match="its registry is an IP address"):
        worker.prepare(wanted, KeepingSink(), Control())
    assert "IP address" in worker.why_refused(wanted) and registry.manifests == 0


@pytest.mark.parametrize("action", ["kill", "detach"])
def test_a_task_that_is_pulling_detaches_at_once(
    runtime: DockerRuntime, order: Orders, registry: Registry, action: str
) -> None:
    registry.gate.clear()
    control, sink, ended = Control(), KeepingSink(), threading.Event()

    def body() -> None:
        with pytest.raises(Detached):
            runtime.prepare(order(image=registry.image), sink, control)
        ended.set()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    wait_until(lambda: registry.manifests, 10)
    began = time.monotonic()
    if action == "kill":
        control.kill(Cause.CANCELLED)
    else:
        control.detach()
    assert ended.wait(5)
    assert time.monotonic() - began < 1.0
    thread.join(5)


def test_a_pull_that_takes_too_long_is_reported(
    make_runtime: Callable[..., DockerRuntime], order: Orders, registry: Registry
) -> None:
    registry.gate.clear()
    with pytest.raises(Unstartable, match="took longer than 1 s"):
        make_runtime(pull_timeout_seconds=1.0).prepare(order(image=registry.image), KeepingSink(), Control())


@pytest.mark.parametrize("image", ["", "UPPER/case", "a b"])
def test_an_invalid_image_reference_is_refused_with_a_reason(
    runtime: DockerRuntime, order: Orders, image: str
) -> None:
    with pytest.raises(Unstartable):
        runtime.prepare(order(image=image, cmd=("true",)), KeepingSink(), Control())
