"""Docker cannot remove some things: the rest goes, and each trouble is told once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import ErrorAnswer, MachineFault, RuntimeUnavailable
from engine.model import names
from engine.runtime.base import Control, Order, Resource
from engine.runtime.docker import cleanup, probes, troubles
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.support.docker_daemon import KeepingSink
from tests.support.faulty_docker import FaultyDocker

Orders = Callable[..., Order]


@pytest.fixture
def through(
    proxy: FaultyDocker, make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime
) -> DockerRuntime:
    """Return a runtime behind the proxy; `runtime` removes what it makes."""
    return make_runtime(docker_host=proxy.url, docker_timeout_seconds=2.0)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages about things that stay."""
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if "stays for now" in message]


def test_containers_that_docker_cannot_remove_keep_nothing_else(
    proxy: FaultyDocker, through: DockerRuntime, order: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6):
        through.prepare(order(run="true"), KeepingSink(), Control())
    resources = [resource for resource in through.list() if resource.kind == "container"]
    assert len(resources) == 6
    proxy.arm(rb"DELETE \S+/containers/", "500", 5)
    assert through.remove(resources) == 1, "five stay, and the sixth goes"
    assert len(warnings(caplog)) == 5
    assert through.remove(through.list()) == 0, "a thing that failed is not tried again at once"
    assert (proxy.made, len(warnings(caplog))) == (5, 5)


@pytest.mark.parametrize("kind", ["container", "volume", "sandbox"])
def test_a_thing_that_stays_is_told_once_and_goes_when_docker_removes_it(
    kind: str,
    proxy: FaultyDocker,
    through: DockerRuntime,
    order: Orders,
    installation: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(troubles, "FIRST_SECONDS", 0.0)
    wanted = order(run="true")
    volume = names.volume(installation, wanted.run, 0)
    through.sandboxes.make(names.sandbox(installation, "n" * 16, 1), "n" * 16)
    prepared = order(task_id=wanted.run.task_id, run="true", volumes=((volume, "/data"),))
    through.prepare(prepared, KeepingSink(), Control())
    resources = [resource for resource in through.list() if resource.kind == kind]
    others = [resource for resource in through.list() if resource.kind != kind]
    if kind == "volume":
        through.remove(others)
    proxy.arm(rb"DELETE ", "500", 3)
    through._host.troubles._troubles.clear()
    assert [through.remove(resources) for _ in range(4)] == [0, 0, 0, 1]
    (warning,) = warnings(caplog)
    assert kind in warning and "a fault of the daemon" in warning


def test_a_volume_in_use_is_told_and_stays(
    through: DockerRuntime, order: Orders, installation: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = order(run="true")
    volume = names.volume(installation, first.run, 0)
    through.prepare(
        order(task_id=first.run.task_id, run="true", volumes=((volume, "/data"),)), KeepingSink(), Control()
    )
    assert through.remove([Resource("volume", volume, volume, first.run)]) == 0
    (warning,) = warnings(caplog)
    assert volume in warning and "in use" in warning


def test_a_removal_that_hangs_is_no_silence_of_the_daemon(
    tmp_path: Path, make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime, order: Orders
) -> None:
    deaf = DeafToRemovals(tmp_path)
    through = make_runtime(docker_host=deaf.url, docker_timeout_seconds=1.0)
    try:
        for _ in range(2):
            through.prepare(order(run="true"), KeepingSink(), Control())
        resources = [resource for resource in through.list() if resource.kind == "container"]
        deaf.deaf_to = resources[0].id.encode()
        assert through.remove(resources) == 1
    finally:
        deaf.close()
    silent = [Resource("container", "c", "c")]
    with pytest.raises(RuntimeUnavailable) as error:
        cleanup.remove(make_runtime(docker_host="unix:///nobody/listens")._host, silent)
    assert not isinstance(error.value, ErrorAnswer)


class DeafToRemovals(FaultyDocker):
    """Proxy that never answers the removal of one container."""

    deaf_to = b"nothing yet"

    def _takes(self, piece: bytes) -> str:
        if piece.startswith(b"DELETE ") and self.deaf_to in piece:
            threading.Event().wait(5)
        return super()._takes(piece)

    def _cut(self, client: socket.socket, server: socket.socket, request: bytes) -> None:
        raise AssertionError("no fault is armed")


def test_a_probe_that_docker_cannot_remove_stops_neither_the_answer_nor_the_other_probes(
    proxy: FaultyDocker,
    make_runtime: Callable[..., DockerRuntime],
    runtime: DockerRuntime,
    docker_settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxied = make_runtime(docker_host=proxy.url, shares_files=None)
    proxy.arm(rb"DELETE \S+/containers/", "500", 1)
    assert proxied._host.shared_files.are_shared()
    work = docker_settings.path / "work"
    assert (proxy.made, len(list(work.iterdir()))) == (1, 1), "the file of the probe is left"
    assert len(warnings(caplog)) == 1
    probes.make_locked_file(work, runtime._host.installation)
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    proxied.remove_orphans()
    assert len(list(work.iterdir())) == 1, (
        "the first is not tried again at once, and does not stop the second"
    )
    runtime.remove_orphans()
    assert not list(work.iterdir())


@pytest.mark.parametrize(
    ("pattern", "times"),
    [
        (rb"POST \S+/containers/create", 1),
        (rb"POST \S+/containers/create", 3),
        (rb"GET \S+/archive\?", 1),
        (rb"GET \S+/archive\?", 3),
        (rb"POST \S+/images/create", 2),
    ],
)
def test_an_error_answer_to_the_probe_does_not_say_that_nothing_is_shared(
    proxy: FaultyDocker,
    make_runtime: Callable[..., DockerRuntime],
    runtime: DockerRuntime,
    pattern: bytes,
    times: int,
) -> None:
    proxied = make_runtime(docker_host=proxy.url, shares_files=None)
    proxy.arm(pattern, "500", times)
    assert proxied._host.shared_files.are_shared()
    assert proxy.made == times


def test_a_daemon_that_only_errs_leaves_the_answer_of_the_probe_open(
    proxy: FaultyDocker, make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime
) -> None:
    proxied = make_runtime(docker_host=proxy.url, shares_files=None)
    proxy.arm(rb"POST \S+/containers/create", "500", 1000)
    with pytest.raises(MachineFault):
        proxied._host.shared_files.are_shared()
    proxy.arm(rb"nothing", "500", 0)
    assert proxied._host.shared_files.are_shared(), "it is asked again"


def test_a_daemon_that_errs_only_about_the_file_shares_nothing(
    tmp_path: Path, make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime, docker: Client
) -> None:

    picky = ErrsAboutBinds(tmp_path)
    try:
        assert not make_runtime(docker_host=picky.url, shares_files=None)._host.shared_files.are_shared()
    finally:
        picky.close()
    prefix = f"ferryman-{runtime._host.installation}-probe-"
    assert not docker.api.containers(all=True, filters={"name": prefix}), "the control is removed too"


class ErrsAboutBinds(FaultyDocker):
    """Proxy that answers every create with a bind mount by 500."""

    def _takes(self, piece: bytes) -> str:
        if piece.startswith(b"POST ") and b"/containers/create" in piece and b'"bind"' in piece:
            self.arm(rb"POST \S+/containers/create", "500")
        return super()._takes(piece)
