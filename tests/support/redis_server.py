"""Real Redis for tests: on a free port, with an append-only file; tests can kill and restart it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from tests.support.databases import free_port
from tests.support.waiting import wait_until


class RedisServer:
    """Redis server whose data survive `kill` and `start`."""

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        self._program = shutil.which("redis-server") or shutil.which("valkey-server")
        if self._program is None:
            if os.environ.get("CI") == "true":
                pytest.fail("no redis-server: apt-get install redis-server")
            pytest.skip("no redis-server: apt-get install redis-server")
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """URL for Celery."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """Client with time-outs."""
        return redis.Redis.from_url(
            self.url, socket_timeout=3, socket_connect_timeout=1, decode_responses=True
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        words = ["--port", str(self.port), "--bind", self.host, "--dir", str(self.directory)]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--protected-mode", "no"]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen([str(self._program), *words], stdout=log, stderr=log)
        wait_until(self._answers, 10)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the server with SIGKILL and wait until it has ended."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    def stop(self) -> None:
        """End the server."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
