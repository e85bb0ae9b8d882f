"""A stand-alone as people start it: `ferryman standalone` as a process, on a data directory of its own."""

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
    """This process's environment without what would lead to another stand-alone; ~ is `home`."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("FERRYMAN_") or k == "FERRYMAN_DOCKER_HOST"
    }
    for name in ("XDG_DATA_HOME", "NO_COLOR", "TERM"):
        kept.pop(name, None)
    return kept | {"HOME": str(home)} | more


def ferryman(
    *words: str, env: Mapping[str, str], text: str = "", seconds: float = 90
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, piped."""
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
    """A running stand-alone and the environment in which commands find it."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    env: dict[str, str]
    output: Path

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.output.read_text()

    @property
    def run_file(self) -> dict[str, object]:
        """The content of run.json, {} when there is none."""
        try:
            found = json.loads((self.data_dir / "run.json").read_text())
        except FileNotFoundError:
            return {}
        assert isinstance(found, dict)
        return found

    @property
    def client(self) -> Client:
        """A client of its API."""
        return Client(str(self.run_file["api_url"]))

    @property
    def installation(self) -> str:
        """The installation's id, from its database."""
        database = Database(Settings.from_env({}, data_dir=str(self.data_dir)).store)
        try:
            return database.open()
        finally:
            database.close()

    def children(self) -> dict[int, str]:
        """pid -> command line of every process below it."""
        return descendants(self.process.pid)

    def child(self, word: str) -> int:
        """The pid of its direct child whose command line holds the word."""
        return next(pid for pid, line in children_of(self.process.pid).items() if word in line)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send the signal, wait for the end; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def containers(self, state: str = "") -> list[str]:
        """Names of its links' containers here, all or those in one state."""
        return containers(self.installation, state, "container")


@contextlib.contextmanager
def standalone(home: Path, *options: str, ready: bool = True, **more: str) -> Iterator[Standalone]:
    """Start one on a free port, wait until it is ready; at the end nothing of it is left."""
    data_dir = home / ".local" / "share" / "ferryman"
    env = environment(home, **more)
    output = home / f"standalone-{os.urandom(3).hex()}.out"
    words = [*FERRYMAN, "standalone", *([] if "--port" in options else ["--port", "0"]), *options]
    with output.open("wb") as out:
        process = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    found = Standalone(process, data_dir, env, output)
    try:
        if ready:
            wait_until(lambda: process.poll() is not None or "\nReady in " in found.said, READY_SECONDS)
            assert process.poll() is None and found.run_file.get("ready"), found.said
        yield found
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                found.stop()
        if process.poll() is None:
            process.kill()
            process.wait(10)
        if (data_dir / "ferryman.db").exists():
            remove_containers(found.installation)


def containers(installation: str, state: str = "", kind: str = "") -> list[str]:
    """Names of an installation's containers on the daemon: all, those in one state, those of one kind."""
    labels = [f"ferryman.installation={installation}", *([f"ferryman.kind={kind}"] if kind else [])]
    listed = require_docker().api.containers(all=True, filters={"label": labels})
    return [c["Names"][0] for c in listed if not state or c["State"] == state]


def remove_containers(installation: str) -> None:
    """Clean up what a test left on the daemon."""
    api = require_docker().api
    mine = {"label": f"ferryman.installation={installation}"}
    for found in api.containers(all=True, filters=mine):
        api.remove_container(found["Id"], force=True)
    for volume in api.volumes(filters=mine)["Volumes"] or ():
        api.remove_volume(volume["Name"], force=True)


def children_of(parent: int) -> dict[int, str]:
    """pid -> command line of the processes whose parent this is."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if re.search(rf"^PPid:\t{parent}$", status.read_text(), re.MULTILINE):
                line = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(status.parent.name)] = line
    return found


def descendants(parent: int) -> dict[int, str]:
    """The same with their children, and theirs."""
    found = children_of(parent)
    for pid in list(found):
        found |= descendants(pid)
    return found


def alive(pids: Mapping[int, str]) -> dict[int, str]:
    """Those that still run, as the same command."""
    found = {}
    for pid, line in pids.items():
        with contextlib.suppress(OSError):
            now = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if now == line:
                found[pid] = line
    return found
