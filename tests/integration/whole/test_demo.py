"""`deploy/demo` for a user who is not root, with and without access to Docker, and with a killed worker."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.model.names import STANDIN
from tests.support.docker_daemon import ROOT, UBUNTU, require_docker
from tests.support.waiting import wait_until

SOCKET = Path("/var/run/docker.sock")
PYTHON = "/usr/bin/python3"
#: Creates .venv from the libraries of the tests, and marks it as up to date.
BORROW = """
import subprocess, sys, sysconfig
sys.path.insert(0, "deploy")
import setup_python
subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], check=True)
folder = f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
open(f"{folder}/borrowed.pth", "w").write(f"{setup_python.ROOT}\\n{sys.argv[1]}\\n")
open(".venv/.ferryman-setup", "w").write(setup_python._fingerprint(setup_python.DEMO_EXTRAS))
"""


@dataclass(frozen=True)
class Newcomer:
    """User without an entry in /etc/passwd, with a home directory and a clone of this checkout."""

    uid: int
    home: Path

    @property
    def clone(self) -> Path:
        return self.home / "ferryman"

    def run(
        self, *words: str, groups: tuple[int, ...] = (), seconds: float = 110, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone as this user, with these additional groups."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FERRYMAN_", "DOCKER_", "XDG_"))}
        return subprocess.run(
            words,
            cwd=self.clone,
            env=kept
            | {"HOME": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
            | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            user=self.uid,
            group=self.uid,
            extra_groups=groups,
        )

    def processes(self) -> list[str]:
        """Return the processes of this user."""
        processes = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if entry.stat().st_uid == self.uid:
                    processes.append(f"{entry.name} {(entry / 'cmdline').read_text().replace(chr(0), ' ')}")
            except (FileNotFoundError, ProcessLookupError):
                continue  # the process has ended meanwhile
        return processes


@pytest.fixture
def newcomer() -> Iterator[Newcomer]:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if not (ROOT / ".git").exists() or not os.access(PYTHON, os.X_OK):
        pytest.skip(f"needs a git checkout to clone, and {PYTHON} for other users to run")
    # Not below pytest's directory, which other users cannot enter.
    home = Path(tempfile.mkdtemp(prefix="newcomer-"))
    # Derive the uid from the pid: tests that run at the same time must not share a user.
    user = Newcomer(200_000 + os.getpid() % 100_000, home)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(user.clone)], check=True, timeout=60)
    subprocess.run(["chown", "-R", f"{user.uid}:{user.uid}", str(home)], check=True, timeout=60)
    yield user
    shutil.rmtree(home)


@pytest.fixture
def docker_group(newcomer: Newcomer) -> int:
    require_docker(UBUNTU)
    if not SOCKET.exists():
        pytest.skip(f"the daemon is not at {SOCKET}")
    return SOCKET.stat().st_gid


def stand_ins() -> set[str]:
    """Return the tags of all labelled stand-ins on the daemon."""
    images = require_docker().api.images(filters={"label": STANDIN})
    return {tag for image in images for tag in image["RepoTags"] or ()}


def assert_it_ran(done: subprocess.CompletedProcess[str], newcomer: Newcomer, before: set[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^  result +hello world$", done.stdout, re.M), done.stdout
    assert re.search(r"^  say hello +COMPLETED", done.stdout, re.M)
    assert "Nothing is left running." in done.stdout
    assert done.stderr == ""
    wait_until(lambda: not newcomer.processes(), 5)
    assert before <= stand_ins(), "stand-ins that existed before must not be removed"


@pytest.mark.docker
def test_the_demo_runs_for_a_user_of_the_docker_group(newcomer: Newcomer, docker_group: int) -> None:
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    if newcomer.run("test", "-r", libraries).returncode:
        pytest.skip(f"other users may not read {libraries}")
    python = python_for(newcomer)
    # A copied Python must find its library beside itself: its built-in path is closed to this user.
    library = str(Path(python).parents[1] / "lib")
    borrowed = newcomer.run(python, "-c", BORROW, libraries, LD_LIBRARY_PATH=library)
    assert borrowed.returncode == 0, borrowed.stderr
    before = stand_ins()
    done = newcomer.run("deploy/demo", groups=(docker_group,), LD_LIBRARY_PATH=library)
    assert ".venv ready" in done.stdout, "it was created again, which takes minutes"
    assert_it_ran(done, newcomer, before)


def python_for(newcomer: Newcomer) -> str:
    """Return this Python, or a copy if other users cannot enter its directory; its libraries fit no other Python."""
    program = os.path.realpath(sys.executable)
    if newcomer.run("test", "-x", program).returncode == 0:
        return program
    unneeded = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a", "share", "include")
    copy = newcomer.home / "python"
    shutil.copytree(sys.base_prefix, copy, symlinks=True, ignore=unneeded)
    return str(copy / Path(program).relative_to(sys.base_prefix))


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_demo_creates_its_venv_for_a_user_of_the_docker_group(
    newcomer: Newcomer, docker_group: int
) -> None:
    before = stand_ins()
    done = newcomer.run("deploy/demo", groups=(docker_group,), seconds=500)
    assert re.search(r"making \.venv, .*: \d+ packages", done.stdout), done.stdout + done.stderr
    assert_it_ran(done, newcomer, before)


@pytest.mark.docker
@pytest.mark.parametrize("words", [[], ["--kill"]])
def test_a_user_without_access_to_docker_gets_a_message_of_two_lines_and_nothing_is_done(
    newcomer: Newcomer, docker_group: int, words: list[str]
) -> None:
    before = _files_in(newcomer.home)
    done = newcomer.run("deploy/demo", *words)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first == "Docker is installed, but this user has no access to it."
    for remedy in ("usermod -aG docker", "rootless", "sudo deploy/demo"):
        assert remedy in second
    assert _files_in(newcomer.home) == before, "nothing was made"
    assert not newcomer.processes()


def _files_in(home: Path) -> set[Path]:
    """Return all files except Python's caches."""
    return {path for path in home.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.docker
@pytest.mark.long
def test_the_killed_worker_of_the_demo_costs_nothing(tmp_path: Path) -> None:
    require_docker(UBUNTU)
    done = subprocess.run(
        [str(ROOT / "deploy/demo"), "--kill"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    screen = done.stdout
    assert done.returncode == 0, screen + done.stderr
    assert "✗" not in screen and screen.count("✓") == 7, screen
    assert re.findall(r"  line (\d+)$", screen, re.M) == [str(i) for i in range(1, 31)], "as it was shown"
    kill, lapse, adoption, end = (
        screen.index(words) for words in ("kill -9 of", "LAPSED: ", "adopted from", "  COMPLETED\n")
    )
    assert kill < lapse < adoption < end
    assert re.search(r"adopted \d+\.\d s after the kill, by a worker of another queue \(default\)", screen)
    assert "Nothing is left running." in screen


TRUE_STORY: dict[str, Any] = {
    "lines": [f"line {i}" for i in range(1, 31)],
    "container": "c1",
    "ran_on": True,
    "adopted_after": 5.2,
    "ends": ["COMPLETED"],
    "attempt": 1,
    "made": ["c1"],
    "status": -9,
}


@pytest.mark.parametrize(
    ("lie", "broken"),
    [
        ({}, 0),
        ({"lines": [f"line {i}" for i in range(1, 31) if i != 11]}, 1),
        ({"lines": [f"line {i}" for i in (*range(1, 12), *range(11, 31))]}, 1),
        ({"made": ["c1", "c2"]}, 1),
        ({"container": "c0"}, 1),
        ({"ran_on": False}, 1),
        ({"adopted_after": None}, 1),
        ({"attempt": 2}, 1),
        ({"ends": ["FAILED"]}, 1),
        ({"status": None}, 1),
    ],
)
def test_the_demo_reports_each_claim_that_did_not_hold(
    lie: dict[str, Any], broken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "deploy"))
    demo_kill = importlib.import_module("demo_kill")
    facts = TRUE_STORY | lie
    task = {"id": "t", "attempt": facts["attempt"], "crashes": 1, "retry": {"limit": 1, "attempts": 0}}
    task["links"] = [{"containerId": "c1"}]
    observed = {name: facts[name] for name in ("lines", "container", "ran_on", "adopted_after", "ends")}
    worker = SimpleNamespace(poll=lambda: facts["status"])
    story = demo_kill._Story(client=None, worker=worker, task=task, adopted_by="default", **observed)
    made = [(action, id, "t") for id in facts["made"] for action in ("create", "start", "destroy")]
    assert demo_kill._say_checks(story, made) is (broken == 0)
    assert capsys.readouterr().out.count("✗") == broken
