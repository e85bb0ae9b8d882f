"""One stand-alone for all tests of the command line; each test submits its own jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.standalone import Standalone, standalone


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Run a stand-alone; commands find it through its run.json."""
    require_docker(BUSYBOX)
    with standalone(tmp_path_factory.mktemp("home"), "--queue", "default:4") as server:
        yield server
