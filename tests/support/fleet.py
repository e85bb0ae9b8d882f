"""Fleet for tests: one installation with real workers, started with the plain Celery command."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.dispatch.flusher import Flusher
from engine.jobspec import schema
from engine.jobspec.task import HostAccess
from engine.lifecycle.installation import Installation
from engine.lifecycle.submit import submit
from engine.model.records import Event, Link, Node, Task
from engine.model.states import NodeState
from engine.runtime.base import Resource
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import OPTIONS, Settings
from engine.store import attempts, events, links, logs, nodes, tasks
from engine.store.database import Database
from tests.support.callers import TESTER
from tests.support.databases import free_port
from tests.support.fork_server import ForkedProcess, fork_server
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

#: Short leases and graces, so that a test takes seconds; tests marked long repeat with the defaults.
QUICK = {"lease_seconds": 1.0, "grace_min_seconds": 3.0, "restart_grace_seconds": 3.0, "resend_seconds": 1.0}
#: Sandbox setting of the workers: the one that starts fastest, unless the environment names another.
SANDBOX = os.environ.get("FERRYMAN_TEST_SANDBOX", "none")
#: Defaults of the same settings.
DEFAULTS: dict[str, float] = {name: OPTIONS[name].default for name in QUICK}


@dataclass
class Worker:
    """Worker process and its output."""

    process: ForkedProcess | subprocess.Popen[bytes]
    log: Path
    queues: tuple[str, ...]
    name: str

    def kill(self) -> None:
        """Kill the whole process group with SIGKILL."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def output(self) -> str:
        """Return the output so far."""
        return self.log.read_text(errors="replace")


@dataclass
class Fleet:
    """Installation of a test: submits tasks, reads rows, starts and ends workers."""

    settings: Settings
    redis: RedisServer
    directory: Path
    db: Database = field(init=False)
    installation: Installation = field(init=False)
    flusher: Flusher = field(init=False)
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.db = Database(self.settings.store)
        self.installation = Installation(self.db, self.settings, self.db.open())
        self.flusher = Flusher(self.db, self.settings.broker).start()

    def worker(self, *words: str, wait: bool = True, module: str = "", **environment: str) -> Worker:
        """Start `celery -A engine worker WORDS` in its own process group; wait until its node is LIVE.

        `module` is run instead of the plain command.
        """
        # Read the nodes only if they are needed: the store may be unavailable.
        before = {node.id for node in self.nodes()} if wait else set()
        log = self.directory / f"worker-{len(self.workers)}.log"
        name, *first = [module] if module else ["celery", "-A", "engine", "worker"]
        process = fork_server().start(
            name, [*first, *words], {**os.environ, **self.settings.environment(), **environment}, log
        )
        queues = tuple(words[words.index("-Q") + 1].split(",")) if "-Q" in words else ("default",)
        worker = Worker(process, log, queues, "")
        self.workers.append(worker)
        if wait:
            fresh = wait_until(
                lambda: [n for n in self.nodes() if n.id not in before and n.state is NodeState.LIVE], 30
            )
            worker.name = fresh[0].name
        return worker

    def celery(self, *words: str) -> str:
        """Run `celery -A engine WORDS`; return its output."""
        out, err = (self.directory / f"celery.{stream}" for stream in ("out", "err"))
        environment = {**os.environ, **self.settings.environment()}
        process = fork_server().start("celery", ["-A", "engine", *words], environment, out, err)
        try:
            status = process.wait(60)
        finally:
            process.kill()
        output, errors = out.read_text(), err.read_text()
        out.unlink()
        err.unlink()
        return output + ("" if status == 0 else errors)

    def submit(self, text: str, count: int = 1) -> list[str]:
        """Submit a task `count` times; return the task ids."""
        spec = schema.check(text.encode(), "yaml", HostAccess(images=("*",)))
        return [submit(self.installation, TESTER, spec).id for _ in range(count)]

    def task(self, task_id: str) -> Task:
        """Return the row of the task."""
        with self.db.read() as c:
            task = tasks.get(c, task_id)
        assert task is not None
        return task

    def ended(self, ids: Sequence[str], seconds: float) -> list[Task]:
        """Wait until all tasks have ended; return their rows."""
        wait_until(lambda: all(self.task(id).state.ended for id in ids), seconds, 0.05)
        return [self.task(id) for id in ids]

    def links(self, task_id: str) -> list[Link]:
        """Return the links of all runs of the task."""
        with self.db.read() as c:
            return links.of_tasks(c, [task_id])

    def events(self, task_id: str) -> list[Event]:
        """Return the events of the task."""
        with self.db.read() as c:
            return events.after(c, None, task_id=task_id)

    def story(self, task_id: str) -> str:
        """Return the events of the task as lines of text, for the message of a failed test."""
        lines = [
            f"{e.time} {e.kind} {e.from_state}->{e.to_state} by {e.node}: {e.reason}"
            for e in self.events(task_id)
        ]
        return "\n".join([f"{self.task(task_id).name} {task_id}", *lines])

    def nodes(self) -> list[Node]:
        """Return all nodes."""
        with self.db.read() as c:
            return nodes.recent(c)

    def log(self, task_id: str) -> str:
        """Return the stored log of the task without Ferryman's notes."""
        with self.db.read() as c:
            return "".join(
                text
                for chunk in logs.chunks(c, task_id, limit=10_000)
                for stream, _, text in chunk.frames
                if stream
            )

    def runtime(self) -> DockerRuntime:
        """Return a runtime for the containers of this installation."""
        return DockerRuntime(self.settings.runtime, self.settings.path, self.installation.id, HostAccess())

    def left_over(self) -> Sequence[Resource]:
        """Return containers, volumes and sandboxes of this installation that nothing uses any more."""
        resources = self.runtime().list()
        kept = self.kept_ready({r.name: r.node for r in resources if r.kind == "sandbox"})
        return [r for r in resources if r.name not in kept]

    def kept_ready(self, sandboxes: Mapping[str, str]) -> set[str]:
        """Return the sandboxes in use and the ones that LIVE nodes keep ready; `sandboxes` maps names to node ids."""
        live, used = (
            {node.id for node in self.nodes() if node.state is NodeState.LIVE},
            self.networks_in_use(),
        )
        kept, ready = used & sandboxes.keys(), Counter[str]()
        for name, node in sorted(sandboxes.items()):
            if name not in used and node in live and ready[node] < self.settings.runtime.warm_sandboxes:
                ready[node] += 1
                kept.add(name)
        return kept

    def networks_in_use(self) -> set[str]:
        """Return the sandboxes of running attempts."""
        with self.db.read() as c:
            return attempts.sandboxes(c)

    def close(self) -> None:
        """Kill all workers and remove their containers, volumes and sandboxes."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.flusher.stop()
        runtime = self.runtime()
        runtime.remove(runtime.list())
        self.db.close()


@contextmanager
def running_fleet(
    directory: Path, database_url: str, redis: RedisServer, **options: object
) -> Iterator[Fleet]:
    """Run a fleet with short leases and its own key prefix; remove everything at the end."""
    # All images: the registries of the tests are on 127.0.0.1.
    given = {"sandbox": SANDBOX, "images": ("*",), **QUICK, **options}
    settings = Settings.from_env(
        {},
        data_dir=str(directory / "data"),
        database_url=database_url,
        broker_url=redis.url,
        broker_prefix=f"t{free_port()}:",
        **given,
    )
    fleet = Fleet(settings, redis, directory)
    try:
        yield fleet
    finally:
        fleet.close()
