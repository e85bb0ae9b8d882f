"""A fleet for tests: one installation with real workers as processes of the plain Celery command."""

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
from tests.support.databases import free_port
from tests.support.nursery import Born, nursery
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

#: Short leases and graces, so that a test takes seconds; the long ring repeats with the defaults.
QUICK = {"lease_seconds": 1.0, "grace_min_seconds": 3.0, "restart_grace_seconds": 3.0, "resend_seconds": 1.0}
#: How the containers of a fleet's workers get their networks: the quickest to begin, unless a run asks for another.
SANDBOX = os.environ.get("FERRYMAN_TEST_SANDBOX", "none")
#: The same as they are where nobody sets them.
DEFAULTS: dict[str, float] = {name: OPTIONS[name].default for name in QUICK}


@dataclass
class Worker:
    """One worker process with what it said."""

    process: Born | subprocess.Popen[bytes]
    log: Path
    queues: tuple[str, ...]
    name: str

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")


@dataclass
class Fleet:
    """Submits and looks through the store; starts and ends workers."""

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
        """`celery -A engine worker WORDS`, in a process group of its own; waits until its node is LIVE.

        `module` is started in place of the plain command.
        """
        # Not asked for nothing: the store may be away.
        before = {node.id for node in self.nodes()} if wait else set()
        log = self.directory / f"worker-{len(self.workers)}.log"
        name, *first = [module] if module else ["celery", "-A", "engine", "worker"]
        process = nursery().start(
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
        """`celery -A engine WORDS`; what it printed."""
        out, err = (self.directory / f"celery.{stream}" for stream in ("out", "err"))
        environment = {**os.environ, **self.settings.environment()}
        process = nursery().start("celery", ["-A", "engine", *words], environment, out, err)
        try:
            status = process.wait(60)
        finally:
            process.kill()
        said, complaints = out.read_text(), err.read_text()
        out.unlink()
        err.unlink()
        return said + ("" if status == 0 else complaints)

    def submit(self, text: str, count: int = 1) -> list[str]:
        """Submit a task `count` times; the tasks' ids."""
        spec = schema.check(text.encode(), "yaml", HostAccess())
        return [submit(self.db, spec, self.settings).task_id for _ in range(count)]

    def task(self, task_id: str) -> Task:
        """The row."""
        with self.db.read() as c:
            found = tasks.get(c, task_id)
        assert found is not None
        return found

    def ended(self, ids: Sequence[str], seconds: float) -> list[Task]:
        """Wait until all have ended."""
        wait_until(lambda: all(self.task(id).state.ended for id in ids), seconds, 0.05)
        return [self.task(id) for id in ids]

    def links(self, task_id: str) -> list[Link]:
        """All links of all its runs."""
        with self.db.read() as c:
            return links.of_tasks(c, [task_id])

    def events(self, task_id: str) -> list[Event]:
        """What happened to it."""
        with self.db.read() as c:
            return events.after(c, None, task_id=task_id)

    def story(self, task_id: str) -> str:
        """Its name and what happened to it, a line each: for the reader of a test that failed."""
        lines = [
            f"{e.time} {e.kind} {e.from_state}->{e.to_state} by {e.node}: {e.reason}"
            for e in self.events(task_id)
        ]
        return "\n".join([f"{self.task(task_id).name} {task_id}", *lines])

    def nodes(self) -> list[Node]:
        """All nodes."""
        with self.db.read() as c:
            return nodes.recent(c)

    def log(self, task_id: str) -> str:
        """Its log as stored: the containers' own output."""
        with self.db.read() as c:
            return "".join(
                text
                for chunk in logs.chunks(c, task_id, limit=10_000)
                for stream, _, text in chunk.frames
                if stream
            )

    def runtime(self) -> DockerRuntime:
        """This installation's things on the daemon."""
        return DockerRuntime(self.settings.runtime, self.settings.path, self.installation.id, HostAccess())

    def left_over(self) -> Sequence[Resource]:
        """Containers, volumes and sandboxes of this installation that nobody will use any more."""
        things = self.runtime().list()
        kept = self.kept_ready({thing.name: thing.node for thing in things if thing.kind == "sandbox"})
        return [thing for thing in things if thing.name not in kept]

    def kept_ready(self, sandboxes: Mapping[str, str]) -> set[str]:
        """Of these sandboxes, by name with their node's id: those in use, and as many as each LIVE node keeps ready."""
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
        """The sandboxes that running attempts have joined."""
        with self.db.read() as c:
            return attempts.sandboxes(c)

    def close(self) -> None:
        """End every worker, remove what they left."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.flusher.stop()
        runtime = self.runtime()
        runtime.remove(runtime.list())
        self.db.close()


@contextmanager
def a_fleet(directory: Path, database_url: str, redis: RedisServer, **options: object) -> Iterator[Fleet]:
    """A fleet with quick leases, a key prefix of its own, and nothing left behind."""
    given = {"sandbox": SANDBOX, **QUICK, **options}
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
