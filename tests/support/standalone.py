"""Stand-alone for tests: the command `ferryman standalone` as a process with its own data directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.client import Client
from engine.settings import Settings
from engine.store.database import Database
from tests.support.docker_daemon import require_docker
from tests.support.waiting import wait_until

FERRYMAN = (sys.executable, "-P", "-m", "engine.cli.main")
READY_SECONDS = 40


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment without settings of another stand-alone; the home directory is `home`."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("FERRYMAN_") or k == "FERRYMAN_DOCKER_HOST"
    }
    for name in ("XDG_DATA_HOME", "NO_COLOR", "TERM"):
        kept.pop(name, None)
    return kept | {"HOME": str(home)} | more


def ferryman(
    *words: str, env: Mapping[str, str], text: str = "", seconds: float = 90
) -> subprocess.CompletedProcess[str]:
    """Run a command with piped output until it ends."""
    return subprocess.run(
        [*FERRYMAN, *words],
        env=dict(env),
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@dataclass
class Standalone:
    """Running stand-alone, and the environment in which commands find it."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    env: dict[str, str]
    output_file: Path

    @property
    def output(self) -> str:
        """Output so far."""
        return self.output_file.read_text()

    @property
    def run_file(self) -> dict[str, object]:
        """Content of run.json, {} if the file does not exist."""
        try:
            content = json.loads((self.data_dir / "run.json").read_text())
        except FileNotFoundError:
            return {}
        assert isinstance(content, dict)
        return content

    @property
    def client(self) -> Client:
        """Client of the API."""
        return Client(str(self.run_file["api_url"]))

    @property
    def installation(self) -> str:
        """Id of the installation, from its database."""
        database = Database(Settings.from_env({}, data_dir=str(self.data_dir)).store)
        try:
            return database.open()
        finally:
            database.close()

    def children(self) -> dict[int, str]:
        """Return pid -> command line of all descendants."""
        return descendants(self.process.pid)

    def child(self, word: str) -> int:
        """Return the pid of the direct child whose command line contains the word."""
        return next(pid for pid, line in children_of(self.process.pid).items() if word in line)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send the signal and wait for the end; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def containers(self, state: str = "") -> list[str]:
        """Return the names of the links' containers on this host, all or in one state."""
        return containers(self.installation, state, "container")


@contextlib.contextmanager
def standalone(home: Path, *options: str, ready: bool = True, **more: str) -> Iterator[Standalone]:
    """Run a stand-alone on a free port, ready; at the end stop it and remove its containers."""
    data_dir = Path(more.get("FERRYMAN_DATA_DIR", home / ".local" / "share" / "ferryman"))
    env = environment(home, **more)
    output = home / f"standalone-{os.urandom(3).hex()}.out"
    words = [*FERRYMAN, "standalone", *([] if "--port" in options else ["--port", "0"]), *options]
    with output.open("wb") as out:
        process = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    server = Standalone(process, data_dir, env, output)
    try:
        if ready:
            wait_until(lambda: process.poll() is not None or "\nReady in " in server.output, READY_SECONDS)
            assert process.poll() is None and server.run_file.get("ready"), server.output
        yield server
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.stop()
        if process.poll() is None:
            process.kill()
            process.wait(10)
        if (data_dir / "ferryman.db").exists():
            remove_containers(server.installation)


def containers(installation: str, state: str = "", kind: str = "") -> list[str]:
    """Return the names of an installation's containers on the daemon, if given of one state and one kind."""
    labels = [f"ferryman.installation={installation}", *([f"ferryman.kind={kind}"] if kind else [])]
    listed = require_docker().api.containers(all=True, filters={"label": labels})
    return [c["Names"][0] for c in listed if not state or c["State"] == state]


def remove_containers(installation: str) -> None:
    """Remove the containers and volumes of an installation from the daemon."""
    api = require_docker().api
    mine = {"label": f"ferryman.installation={installation}"}
    for container in api.containers(all=True, filters=mine):
        api.remove_container(container["Id"], force=True)
    for volume in api.volumes(filters=mine)["Volumes"] or ():
        api.remove_volume(volume["Name"], force=True)


def children_of(parent: int) -> dict[int, str]:
    """Return pid -> command line of the direct children."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if re.search(rf"^PPid:\t{parent}$", status.read_text(), re.MULTILINE):
                line = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                children[int(status.parent.name)] = line
    return children


def descendants(parent: int) -> dict[int, str]:
    """Return pid -> command line of all descendants."""
    processes = children_of(parent)
    for pid in list(processes):
        processes |= descendants(pid)
    return processes


def alive(pids: Mapping[int, str]) -> dict[int, str]:
    """Return the processes that still run with the same command line."""
    running = {}
    for pid, line in pids.items():
        with contextlib.suppress(OSError):
            now = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if now == line:
                running[pid] = line
    return running
