"""The installation under test: Redis, a database, the API and plain Celery workers, each a process to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from engine.errors import StoreUnavailable
from engine.model.states import NodeState, TaskState
from engine.store import tasks
from engine.store.tables import attempts
from tests.support.api_server import SERVE
from tests.support.databases import Postgres, free_port, migrate, running_postgres
from tests.support.faulty_docker import FaultyDocker
from tests.support.fleet import Fleet, running_fleet
from tests.support.fork_server import ForkedProcess, fork_server
from tests.support.redis_server import RedisServer

#: A process that exited by itself is started again after this time, as a supervisor would do.
_AGAIN_SECONDS = 1.0
SMALL_DISK_BYTES = 64 << 20
#: Worker's name -> its command-line words.
WORKERS = {
    "one": ("-c", "3", "-Q", "default"),
    "two": ("-c", "2", "-Q", "default,other"),
    "three": ("-c", "2", "-Q", "other"),
}


@dataclass
class Part:
    """A process in its own process group that is started again after each end."""

    name: str
    launch: Callable[[], ForkedProcess | subprocess.Popen[bytes]]
    process: ForkedProcess | subprocess.Popen[bytes] | None = None
    #: Reserved by a fault: no other fault touches this part.
    in_fault: bool = False
    #: Exit codes with which the process exited by itself, each with the time (time.time()).
    left: list[tuple[int, float]] = field(default_factory=list)
    _back_at: float = 0.0

    def start(self) -> None:
        """Start a new process; the old one must have ended."""
        self.process = self.launch()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the whole group."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(20)

    def watch(self) -> None:
        """Start the process again when it has exited by itself."""
        if self.in_fault or self.process is None:
            return
        code = self.process.poll()
        if code is not None and self._back_at == 0.0:
            self.left.append((code, time.time()))
            self._back_at = time.monotonic() + _AGAIN_SECONDS
        if self._back_at and time.monotonic() >= self._back_at:
            self._back_at = 0.0
            self.start()


@dataclass
class Ground:
    """The parts that faults can break, and the store for the checks."""

    fleet: Fleet
    redis: RedisServer
    postgres: Postgres | None
    notes: Path
    api: Part
    api_url: str
    workers: dict[str, Part]
    #: Worker's name -> the proxy between it and Docker.
    dockers: dict[str, FaultyDocker]
    #: Data directory, on a small disk of its own; None without root.
    small_disk: Path | None
    #: Short ids of containers that were removed by hand, and the tasks that they belonged to.
    removed: set[str] = field(default_factory=set)
    bereft: set[str] = field(default_factory=set)

    @property
    def parts(self) -> list[Part]:
        """The API and every worker."""
        return [self.api, *self.workers.values()]

    def is_up(self) -> bool:
        """Return True when the API answers and every worker is live."""
        live = [node for node in self.fleet.nodes() if node.state is NodeState.LIVE]
        return len(live) >= len(self.workers) and self._api_answers()

    def _api_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def watch(self) -> None:
        """Start every process again that has exited by itself."""
        for part in self.parts:
            part.watch()

    def held_by(self, worker: str) -> list[str]:
        """Return the tasks that the worker of this name has now; none while the store is away."""
        try:
            ids = [node.id for node in self.fleet.nodes() if node.name.startswith(f"{worker}@")]
            with self.fleet.db.read() as c:
                return [
                    task.id for id in ids for task in tasks.of_node(c, id) if task.state is TaskState.RUNNING
                ]
        except StoreUnavailable:
            return []

    def joined_to(self, sandbox: str) -> list[str]:
        """Return the tasks whose attempts joined this sandbox. Raise StoreUnavailable."""
        with self.fleet.db.read() as c:
            return list(c.scalars(sa.select(attempts.c.task_id).where(attempts.c.sandbox == sandbox)))


@contextmanager
def laid_out(home: Path, database: str) -> Iterator[Ground]:
    """Start everything; at the end, stop and remove all of it."""
    notes = home / "notes"
    notes.mkdir(mode=0o777)
    notes.chmod(0o777)
    with ExitStack() as stack:
        redis = RedisServer(home / "redis")
        stack.callback(redis.stop)
        stack.callback(redis.signal, signal.SIGCONT)
        postgres = stack.enter_context(running_postgres()) if database == "postgresql" else None
        if postgres is not None:
            url = postgres.new()
        else:
            url = f"sqlite:///{home / 'ferryman.db'}"
            migrate(url)
        small_disk = _small_disk(home / "data", stack)
        dockers = {name: _proxy(home / f"docker-{name}", stack) for name in WORKERS}
        # Every crash is one of ours; the limit of crashes in a row is tested elsewhere.
        options = {"bind_sources": (f"{notes}:rw",), "max_crashes": 1000, "sandbox": "pod"}
        fleet = stack.enter_context(running_fleet(home, url, redis, **options))
        # The flushers of API and workers must send everything, because this process is never killed.
        fleet.flusher.stop()
        port = free_port()
        ground = Ground(
            fleet,
            redis,
            postgres,
            notes,
            _api(fleet, port),
            f"http://127.0.0.1:{port}",
            _workers(fleet, dockers),
            dockers,
            small_disk,
        )
        stack.callback(_end, ground)
        for part in ground.parts:
            part.start()
        yield ground


def _end(ground: Ground) -> None:
    for part in ground.parts:
        part.kill()
    # The fleet's close asks the daemon and the database, not the broker.
    ground.redis.signal(signal.SIGCONT)


def _api(fleet: Fleet, port: int) -> Part:
    environment = {**os.environ, **fleet.settings.environment(), "FERRYMAN_PORT": str(port)}

    def launch() -> ForkedProcess:
        return fork_server().start("gunicorn", SERVE, environment, fleet.directory / "api.log")

    return Part("api", launch)


def _workers(fleet: Fleet, dockers: dict[str, FaultyDocker]) -> dict[str, Part]:
    def part(name: str) -> Part:
        words, host = ("-n", f"{name}@soak", *WORKERS[name]), dockers[name].url
        return Part(name, lambda: fleet.worker(*words, wait=False, FERRYMAN_DOCKER_HOST=host).process)

    return {name: part(name) for name in WORKERS}


def _proxy(directory: Path, stack: ExitStack) -> FaultyDocker:
    directory.mkdir()
    proxy = FaultyDocker(directory)
    stack.callback(proxy.close)
    return proxy


def _small_disk(directory: Path, stack: ExitStack) -> Path | None:
    """Put a disk of its own under the data directory; None where mounting is not possible."""
    directory.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES},mode=0700", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True, timeout=10).returncode:
        return None
    stack.callback(subprocess.run, ["umount", "-l", str(directory)], check=False, timeout=10)
    return directory
