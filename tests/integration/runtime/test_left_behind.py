"""Clean-up after a process that died in the middle: the next sweep of any other worker removes its rest."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.model import names
from engine.model.states import TaskState
from engine.runtime.base import Control, Order, Resource
from engine.runtime.docker import probes
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.runtime.docker.troubles import Troubles
from engine.settings import Settings
from engine.worker.daemon.sweeper import Owners, unowned
from tests.support.docker_daemon import ROOT, KeepingSink

Orders = Callable[..., Order]

#: A program that starts a probe and dies by SIGKILL just before or after its container is made.
DIES = """
import os, sys
from pathlib import Path
from engine.runtime.docker import shared_files
from engine.runtime.docker.client import Client
from engine.runtime.docker.troubles import Troubles
read = shared_files._read_through
def _read_and_die(*args):
    if sys.argv[3] == "created":
        shared_files.from_archive = lambda *_: os.kill(os.getpid(), 9)
        read(*args)
    os.kill(os.getpid(), 9)
shared_files._read_through = _read_and_die
shared_files.probe(Client(), Path(sys.argv[1]), sys.argv[2], Troubles())
"""


def _probes(client: Client, installation: str) -> list[str]:
    wanted = {"label": [f"{names.INSTALLATION}={installation}", f"{names.KIND}=probe"]}
    containers = client.api.containers(all=True, filters=wanted)
    return [c["Id"] for c in containers] + [i["Id"] for i in client.api.images(filters=wanted)]


@pytest.mark.parametrize("moment", ["imported", "created"])
def test_the_next_sweep_removes_a_probe_whose_process_died(
    moment: str, runtime: DockerRuntime, docker: Client, docker_settings: Settings, installation: str
) -> None:
    command = [sys.executable, "-c", DIES, docker_settings.data_dir, installation, moment]
    done = subprocess.run(command, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    work = docker_settings.path / "work"
    assert len(_probes(docker, installation)) == (2 if moment == "created" else 1)
    assert len(list(work.iterdir())) == 1
    runtime.list()
    assert _probes(docker, installation), "a list removes nothing"
    runtime.remove_orphans()
    assert not _probes(docker, installation)
    assert not list(work.iterdir())


def test_a_probe_in_progress_is_left_alone(
    docker: Client, docker_settings: Settings, installation: str
) -> None:
    work = docker_settings.path / "work"
    work.mkdir(parents=True)
    file, held = probes.make_locked_file(work, installation)
    probes.remove_orphans(docker, docker_settings.path, installation, Troubles())
    assert file.exists()
    with open(held, "rb"):
        assert file.read_bytes().decode() == file.name.rpartition("-")[2]
    probes.remove_orphans(docker, docker_settings.path, installation, Troubles())
    assert not file.exists()


def _directories(runtime: DockerRuntime) -> list[Resource]:
    return [resource for resource in runtime.list(with_directories=True) if resource.kind == "directory"]


def test_a_directory_is_listed_with_its_run_after_its_container_is_gone(
    runtime: DockerRuntime, order: Orders, docker: Client, docker_settings: Settings
) -> None:
    mine = runtime.prepare(order(run="true", attempt=2, origin=3, index=1), KeepingSink(), Control())
    another = docker_settings.path / "work" / "ferryman-another-t-1-1-0-d1"
    another.mkdir()
    docker.api.remove_container(mine.container_id, force=True)
    (directory,) = _directories(runtime)
    assert (directory.kind, directory.run) == ("directory", mine.order.run)
    assert (mine.order.run[1:], directory.index) == ((2, 3), 1)
    alive = {mine.order.run.task_id: (TaskState.RUNNING, 2, 4, 3)}
    assert unowned([directory], Owners(alive)) == []
    assert (
        runtime.remove(unowned([directory], Owners({mine.order.run.task_id: (TaskState.RUNNING, 2, 5, 5)})))
        == 1
    )
    assert not _directories(runtime)
    assert another.exists(), "the directory of another installation is not touched"
    another.rmdir()


def test_a_directory_is_removed_after_its_container(
    runtime: DockerRuntime, order: Orders, tmp_path: Path
) -> None:
    runtime.prepare(order(run="true"), KeepingSink(), Control())
    resources = runtime.list(with_directories=True)[::-1]
    assert [resource.kind for resource in resources] == ["directory", "container"]
    assert runtime.remove(resources) == 2
    assert not runtime.list(with_directories=True)
