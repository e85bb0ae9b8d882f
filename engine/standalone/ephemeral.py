"""A stand-alone for one purpose: a data directory and ports of its own, and nothing left when it ends.

For `ferryman run` and the demo. Standard library only, so that the demo can use it before anything is
installed in the Python that runs it: `python` names the one that has Ferryman.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import FerrymanError
from engine.standalone import datadir

#: What would lead it to somebody else's broker, rows or port.
_FOREIGN = ("BROKER_URL", "DATABASE_URL", "API_URL", "DATA_DIR", "HOST", "PORT", "ONE_HOST")
_READY_SECONDS = 75.0
_STOP_SECONDS = 30.0
_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")


class NotReady(FerrymanError):
    """It did not come up; the message holds what it said."""


@dataclass(frozen=True)
class Running:
    """A stand-alone that serves: where its API is, which broker it took, its process."""

    url: str
    broker: str
    pid: int
    data_dir: Path


@contextlib.contextmanager
def standalone(python: str, queues: Sequence[str], port: int = 0) -> Iterator[Running]:
    """Start one, wait until each queue (`name:slots`) is served; stop it at the end, whatever happens.

    Its containers, volumes and files are gone afterwards. It ends also when this process is killed.
    Raises NotReady.
    """
    directory = Path(tempfile.mkdtemp(prefix="ferryman-"))
    said = directory / "supervisor.out"
    options = [part for queue in queues for part in ("--queue", queue)]
    command = [python, "-P", "-m", "engine.cli.main", "standalone", "--ephemeral", *options]
    command += ["--port", str(port), "--data-dir", str(directory / "data")]
    environment = {k: v for k, v in os.environ.items() if k.removeprefix("FERRYMAN_") not in _FOREIGN}
    try:
        with said.open("wb") as out:
            process = subprocess.Popen(
                [python, "-I", "-S", str(_DIE_WITH_PARENT), str(os.getpid()), *command],
                env=environment | {"NO_COLOR": "1"},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield _ready(process, directory / "data", said)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            # A container's root made folders in its output that this user may not empty.
            print(
                f"{directory} holds files of root, made by a container: sudo rm -r {directory}",
                file=sys.stderr,
            )


def _ready(process: subprocess.Popen[bytes], data_dir: Path, said: Path) -> Running:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = _run_file(data_dir)
        if found.get("ready"):
            return Running(str(found["api_url"]), str(found.get("broker", "")), process.pid, data_dir)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    words = said.read_text("utf-8", "replace").strip()
    raise NotReady(f"the stand-alone did not get ready:\n{words[-4000:]}")


def _run_file(data_dir: Path) -> dict[str, object]:
    try:
        found = json.loads((data_dir / datadir.RUN_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """An orderly end; what takes longer is killed with its children (they are tethered to it)."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
