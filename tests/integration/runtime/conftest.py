"""A Docker runtime of an installation of the test's own; whatever it made is removed, and that is checked."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a daemon."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def docker() -> Client:
    """The daemon, with the images that most tests need."""
    return require_docker(BUSYBOX, UBUNTU)


@pytest.fixture
def installation(docker: Client) -> str:
    """An id that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def docker_settings(tmp_path: Path) -> Settings:
    """Settings with a data directory of the test's own."""
    return Settings.from_env({}, data_dir=str(tmp_path / "data"))


@pytest.fixture
def shares_files() -> bool | None:
    """How the files of a runtime go that is made without a word: True, by bound directories. Tests parametrise it."""
    return True


@pytest.fixture
def make_runtime(
    docker_settings: Settings, installation: str, shares_files: bool | None
) -> Callable[..., DockerRuntime]:
    """Build a runtime: another worker of the same installation."""
    usual = {"shares_files": shares_files}

    def make(host_access: HostAccess = HostAccess(), **values: Any) -> DockerRuntime:
        shared = values.pop("shares_files", usual["shares_files"])
        settings = docker_settings.replace(**values)
        return DockerRuntime(settings.runtime, settings.path, installation, host_access, shares_files=shared)

    return make


@pytest.fixture
def runtime(make_runtime: Callable[..., DockerRuntime], docker_settings: Settings) -> Iterator[DockerRuntime]:
    """The runtime under test. At the end all that it lists is removed, and nothing must be left."""
    made = make_runtime()
    yield made
    made.remove(made.list())
    assert not made.list(), "something of the test is left in Docker"
    work = docker_settings.path / "work"
    assert not work.exists() or not list(work.iterdir()), "work directories are left"


@pytest.fixture
def order(installation: str, runtime: DockerRuntime) -> Callable[..., Order]:
    """Build an order of this installation. Asks for `runtime`, so that what comes of it is removed."""

    def build(**values: Any) -> Order:
        return an_order(installation, **values)

    return build
