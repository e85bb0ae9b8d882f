"""The API as people run it: gunicorn in a process of its own, on a free port."""

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

#: What gunicorn is told, everywhere.
SERVE = ("--config", "python:engine.standalone.gunicorn_conf")


@dataclass
class ApiServer:
    """A running API. `stop` ends it in order and gives its exit code."""

    url: str
    process: ForkedProcess
    said: IO[bytes]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15) -> int:
        """Send the signal and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    @property
    def log(self) -> str:
        """What it printed so far."""
        self.said.seek(0)
        return self.said.read().decode(errors="replace")


@contextmanager
def running_api(settings: Settings) -> Iterator[ApiServer]:
    """The real server over these settings; ended at the end, whatever happens."""
    port = free_port()
    environment = {**os.environ, **settings.environment(), "FERRYMAN_PORT": str(port)}
    with tempfile.NamedTemporaryFile() as said:
        process = fork_server().start("gunicorn", SERVE, environment, Path(said.name))
        server = ApiServer(f"http://127.0.0.1:{port}", process, said)
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
