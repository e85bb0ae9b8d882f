"""A worker that is not root: what tasks leave as root is removed too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime.docker.client import Client
from tests.support.docker_daemon import ROOT
from tests.support.faulty_docker import FaultyDocker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

NOBODY = 65534
#: A program that becomes the user nobody, runs a task whose script is an argument, empties its output as on a full
#: disk, and removes everything. With "keep" the output is not emptied before.
WORKER = """
import logging, os, sys, time
from pathlib import Path
from engine.jobspec.task import HostAccess
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from engine.runtime.base import Control
from tests.support.docker_daemon import KeepingSink, an_order
os.setgroups([]); os.setgid(65534); os.setuid(65534)
logging.basicConfig(stream=sys.stdout, format="%(message)s")
folder, socket, installation, empties, script = sys.argv[1:]
settings = Settings.from_env({}, data_dir=folder, docker_host=socket)
runtime = DockerRuntime(settings.runtime, settings.path, installation, HostAccess(images=("*",)))
assert runtime._host.shared_files.are_shared()
order = an_order(installation, run=script)
sink, control = KeepingSink(), Control()
prepared = runtime.prepare(order, sink, control)
outcome = runtime.go(prepared, sink, control)
print(outcome.exit_code, (outcome.result or "").strip())
if empties == "empty":
    out = runtime.output_directory(prepared)
    runtime.empty_output(prepared)
    print("emptied:", *out.iterdir())
began = time.monotonic()
while runtime.list(with_directories=True) and time.monotonic() - began < 60:
    runtime.remove(runtime.list(with_directories=True))
    runtime.remove_orphans()
print("left:", *(str(path.relative_to(settings.path)) for path in settings.path.rglob("*")))
"""
MANY_DEEP = "mkdir -p " + " ".join(f"{n}/{'d/' * 40}" for n in range(20))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a data directory of the user nobody, in a place that this user can reach."""
    path = Path(tempfile.mkdtemp())
    try:
        path.chmod(0o755)
        (path / "data").mkdir(mode=0o700)
        os.chown(path / "data", NOBODY, NOBODY)
        yield path
    finally:
        shutil.rmtree(path)


@pytest.mark.parametrize("empties", ["keep", "empty"])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param("mkdir -p a/b/c; touch a/file a/b/c/file; echo done > result", id="tree"),
        pytest.param("mkdir -p a/b/c; touch a/b/file; chmod 0 a/b/c a/b a; echo done > result", id="closed"),
        pytest.param(
            "mkdir a; chmod 1777 a; touch a/file; ln -s /etc a/link; echo done > result", id="sticky"
        ),
        pytest.param("mkdir -p a/b; chown -R 1234:1234 a; chmod 700 a a/b; echo done > result", id="other"),
        pytest.param(f"{MANY_DEEP}; echo done > result", id="many"),
        pytest.param("chmod 700 result . ; echo done > result; chown 0 .; mkdir a", id="all"),
    ],
)
def test_directories_of_root_are_removed(
    script: str, empties: str, folder: Path, installation: str, docker: Client
) -> None:
    relay = FaultyDocker(folder)
    (folder / "faulty.sock").chmod(0o777)
    command = [sys.executable, "-c", WORKER, str(folder / "data"), relay.url, installation, empties]
    try:
        done = subprocess.run(
            [*command, f"cd /ferryman/out; touch result; {script}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=ROOT,
        )
    finally:
        relay.close()
    assert done.returncode == 0, done.stderr
    emptied = ["emptied:"] if empties == "empty" else []
    assert done.stdout.splitlines() == ["0 done", *emptied, "left: work"], done.stderr
    labelled = {"label": f"ferryman.installation={installation}"}
    assert not docker.api.containers(all=True, filters=labelled)
    assert not docker.api.images(filters=labelled)
