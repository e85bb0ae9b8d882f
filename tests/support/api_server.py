"""API as people run it: gunicorn in its own process, on a free port."""

from __future__ import annotations

import os
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.settings import Settings
from tests.support.databases import free_port
from tests.support.fork_server import ForkedProcess, fork_server
from tests.support.waiting import wait_until

#: Arguments of gunicorn.
SERVE = ("--config", "python:engine.standalone.gunicorn_conf")


@dataclass
class ApiServer:
    """A running API; `stop` ends it gracefully and returns its exit code."""

    url: str
    process: ForkedProcess
    output: IO[bytes]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15) -> int:
        """Send the signal and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    @property
    def log(self) -> str:
        """Return its output so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


@contextmanager
def running_api(settings: Settings) -> Iterator[ApiServer]:
    """Run the real server with these settings, and end it in every case."""
    port = free_port()
    environment = {**os.environ, **settings.environment(), "FERRYMAN_PORT": str(port)}
    with tempfile.NamedTemporaryFile() as output:
        process = fork_server().start("gunicorn", SERVE, environment, Path(output.name))
        host = settings.api.host
        server = ApiServer(
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", process, output
        )
        try:
            wait_until(lambda: _answers(server), 30)
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=10)


def _answers(server: ApiServer) -> bool:
    assert server.process.poll() is None, server.log
    try:
        with urllib.request.urlopen(f"{server.url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
