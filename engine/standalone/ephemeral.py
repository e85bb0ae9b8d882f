"""Temporary stand-alone with its own data directory and ports, for `ferryman run` and the demo.

Standard library only, so that the demo can import it in a Python without Ferryman's libraries; the argument
`python` is an interpreter that has them.
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

#: Settings that would select the broker, database or port of another installation.
_UNSET = ("BROKER_URL", "DATABASE_URL", "API_URL", "DATA_DIR", "HOST", "PORT", "ONE_HOST")
_READY_SECONDS = 75.0
_STOP_SECONDS = 30.0
_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")


class NotReady(FerrymanError):
    """Stand-alone that did not become ready; the message contains its output."""


@dataclass(frozen=True)
class RunningStandalone:
    """Stand-alone that is ready: URL of the API, description of the broker, process id, data directory."""

    url: str
    broker: str
    pid: int
    data_dir: Path


@contextlib.contextmanager
def standalone(python: str, queues: Sequence[str], port: int = 0) -> Iterator[RunningStandalone]:
    """Start a stand-alone, wait until each queue (`name:slots`) has a worker, and stop it at the end.

    Its containers, volumes and files are removed. It also ends when this process is killed. Raises NotReady.
    """
    directory = Path(tempfile.mkdtemp(prefix="ferryman-"))
    output = directory / "supervisor.out"
    options = [part for queue in queues for part in ("--queue", queue)]
    command = [python, "-P", "-m", "engine.cli.main", "standalone", "--ephemeral", *options]
    command += ["--port", str(port), "--data-dir", str(directory / "data")]
    environment = {k: v for k, v in os.environ.items() if k.removeprefix("FERRYMAN_") not in _UNSET}
    try:
        with output.open("wb") as out:
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
            yield _wait_until_ready(process, directory / "data", output)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            # A container's root created directories in its output that this user cannot empty.
            print(
                f"cannot remove {directory}: a container created files of root there; run sudo rm -r {directory}",
                file=sys.stderr,
            )


def _wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path, output: Path) -> RunningStandalone:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        run_file = _read_run_file(data_dir)
        if run_file.get("ready"):
            url, broker = str(run_file["api_url"]), str(run_file.get("broker", ""))
            return RunningStandalone(url, broker, process.pid, data_dir)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    text = output.read_text("utf-8", "replace").strip()
    raise NotReady(f"the stand-alone did not become ready; its output:\n{text[-4000:]}")


def _read_run_file(data_dir: Path) -> dict[str, object]:
    try:
        content = json.loads((data_dir / datadir.RUN_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process in order, or kill it; the kernel then ends its children (see die_with_parent.py)."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
