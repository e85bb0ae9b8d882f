"""Docker runtime with an installation of its own for each test; its resources are removed, and that is checked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.jobspec.task import HostAccess
from engine.runtime.base import Order
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.support.docker_daemon import BUSYBOX, UBUNTU, an_order, require_docker
from tests.support.faulty_docker import FaultyDocker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: it needs a daemon."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def docker() -> Client:
    """Client of the daemon, with the images that most tests need."""
    return require_docker(BUSYBOX, UBUNTU)


@pytest.fixture
def installation(docker: Client) -> str:
    """Return an id that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def docker_settings(tmp_path: Path) -> Settings:
    """Return settings with a data directory of the test's own."""
    return Settings.from_env({}, data_dir=str(tmp_path / "data"))


@pytest.fixture
def shares_files() -> bool | None:
    """Return True: by default a runtime binds files instead of copying them. Tests parametrise it."""
    return True


@pytest.fixture
def make_runtime(
    docker_settings: Settings, installation: str, shares_files: bool | None
) -> Callable[..., DockerRuntime]:
    """Return a function that builds a runtime: another worker of the same installation."""
    usual = {"shares_files": shares_files}

    def make(host_access: HostAccess = HostAccess(images=("*",)), **values: Any) -> DockerRuntime:
        shared = values.pop("shares_files", usual["shares_files"])
        settings = docker_settings.replace(**values)
        return DockerRuntime(settings.runtime, settings.path, installation, host_access, shares_files=shared)

    return make


@pytest.fixture
def runtime(make_runtime: Callable[..., DockerRuntime], docker_settings: Settings) -> Iterator[DockerRuntime]:
    """Runtime under test. At the end everything that it lists is removed, and nothing may be left."""
    tested = make_runtime()
    yield tested
    tested.remove(tested.list())
    assert not tested.list(), "the test left something in Docker"
    work = docker_settings.path / "work"
    assert not work.exists() or not list(work.iterdir()), "work directories are left"


@pytest.fixture
def order(installation: str, runtime: DockerRuntime) -> Callable[..., Order]:
    """Return a function that builds an order. It requests `runtime`, so that the order's resources are removed."""

    def build(**values: Any) -> Order:
        return an_order(installation, **values)

    return build


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[FaultyDocker]:
    """Return a proxy before the daemon, which makes the faults that a test arms."""
    proxy = FaultyDocker(tmp_path)
    yield proxy
    proxy.close()
