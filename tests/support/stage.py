"""Stage: an installation with the real API in its own process, and rows written by the real verbs."""

from __future__ import annotations

import itertools
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from engine.jobspec import schema
from engine.jobspec.host_access import host_access_from
from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import begin_link, claim
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import FollowUp, finish_link
from engine.lifecycle.installation import Installation
from engine.lifecycle.submit import submit
from engine.lifecycle.take_over import take_over
from engine.model.records import LogPosition, Task, Token
from engine.runtime.base import Cause, Outcome
from engine.settings import Settings
from engine.store import logs, nodes, outbox, tasks
from engine.store.database import Database
from tests.support import log_rows
from tests.support.api_server import SERVE
from tests.support.callers import TESTER, by
from tests.support.databases import free_port
from tests.support.fork_server import ForkedProcess, fork_server
from tests.support.records import a_node
from tests.support.waiting import wait_until

HELLO = "name: say hello\nimage: ubuntu:mantic\ncmd: [echo, -n, hello world]\n"


#: Node ids of a stage.
NODE, OTHER = "a1" * 16, "b2" * 16


class Stage:
    """An installation in which a test plays the workers, verb by verb."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.db = Database(settings.store)
        self.installation = Installation(self.db, settings, self.db.open())
        self.port = free_port()
        self._process: ForkedProcess | None = None
        self._output: IO[bytes] = open(f"{settings.data_dir}/api.log", "w+b")  # noqa: SIM115 - closed in `close`
        self._containers = itertools.count(0x3FA91C70D2E8)

    @property
    def url(self) -> str:
        """Return the address of the pages."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        """Start the API, always on the same port, without flusher and reconciler: the test plays both."""
        args = [*SERVE, "api:create_app(background=False)"]
        environment = {
            **os.environ,
            **self.settings.environment(),
            "FERRYMAN_PORT": str(self.port),
        }
        self._process = fork_server().start("gunicorn", args, environment, Path(self._output.name))
        wait_until(self._answers, 30)

    def stop(self) -> None:
        """Kill the API."""
        if self._process is not None:
            # With its worker process, which would serve for some more seconds.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None

    def close(self) -> None:
        """Kill the API and close the database."""
        self.stop()
        self.db.close()
        self._output.close()

    def log(self) -> str:
        """Return the output of the API so far."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log()
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    # Nodes.

    def live(self, id: str, name: str, queues: Sequence[str] = ("default",), slots: int = 4) -> str:
        """Join a node, unless it has joined already; return its id."""
        with self.db.read() as c:
            if nodes.get(c, id) is not None:
                return id
        node = a_node(
            id, name=name, host="host-a", queues=tuple(queues), slots=slots, daemon="Docker 20.10.24"
        )
        node_verbs.join(self.installation, TESTER, node)
        with self.db.read() as c:
            last = nodes.last_lapse(c)
        assert node_verbs.become_live(self.installation, by(id), last)
        return id

    def lapse(self, id: str) -> None:
        """Let a node lapse."""
        with self.db.read() as c:
            node = nodes.get(c, id)
        assert node is not None and node_verbs.lapse(self.installation, TESTER, node)

    # Tasks.

    def submit(self, text: str = HELLO, **fields: str) -> Task:
        """Submit a task of this YAML; `fields` replace some of its texts unchecked, to make hostile rows."""
        host_access = host_access_from((), (), self.settings.private_places)
        spec = schema.check(text.encode(), "yaml", host_access, self.settings.api.body_bytes)
        task = submit(self.installation, TESTER, replace(spec, **fields) if fields else spec)
        return self.task(task.id)

    def send(self, task: Task) -> None:
        """Mark a task as sent."""
        with self.db.begin() as c:
            assert outbox.mark_sent(c, [task])

    def claim(self, task: Task, node: str) -> Assignment:
        """Claim a task for a node; return its first link."""
        link = claim(self.installation, by(node), task.token)
        assert link is not None
        return link

    def start(self, link: Assignment) -> str:
        """Confirm a container for the link; return the container's id."""
        container = f"{next(self._containers):x}".ljust(64, "0")
        assert confirm(self.installation, TESTER, link, container)
        return container

    def go_on(self, token: Token, index: int, node: str) -> Assignment:
        """Begin a later link on the node."""
        link = begin_link(self.installation, by(node), token, index)
        assert link is not None
        return link

    def end(
        self,
        link: Assignment,
        container: str,
        code: int = 0,
        why: str | None = None,
        result: str | None = None,
    ) -> FollowUp:
        """Finish a link with the end of its container."""
        done = finish_link(
            self.installation, TESTER, link, container, Outcome(code, Cause.EXITED, why, result)
        )
        assert done is not None
        return done

    def adopt(self, task: Task, node: str) -> Token:
        """Adopt a task from a lapsed node; return the new token."""
        token = take_over(
            self.installation, by(node), self.task(task.id).token, "container 3fa91c70d2e8 runs"
        )
        assert token is not None
        return token

    def write(self, link: Assignment, *texts: str, stream: int = 1) -> None:
        """Write output of the container: each text is a frame."""
        self.write_as(link.token, link, *texts, stream=stream)

    def write_as(self, token: Token, link: Assignment, *texts: str, stream: int = 1) -> None:
        """Write output under another token, such as an adopter's."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        frames = [(stream, stamp, text) for text in texts]
        with self.db.begin() as c:
            order = link.order
            assert log_rows.append(
                c, token, order.run.origin, order.index, [logs.piece(frames)], LogPosition(), 1 << 24
            )

    def task(self, task_id: str) -> Task:
        """Return the task's row."""
        with self.db.read() as c:
            task = tasks.get(c, task_id)
        assert task is not None
        return task


@contextmanager
def staged(directory: str) -> Iterator[Stage]:
    """Serve a stage over a SQLite file in this directory."""
    settings = Settings(data_dir=directory).replace(
        database_url=f"sqlite:///{directory}/ferryman.db",
        broker_url="redis://127.0.0.1:1/0",
        lease_seconds=3600,
        api_threads=32,
    )
    stage = Stage(settings)
    try:
        stage.serve()
        yield stage
    finally:
        stage.close()
