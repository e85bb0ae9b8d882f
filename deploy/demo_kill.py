"""`deploy/demo --kill`: kill -9 of a worker while its container runs; another worker finishes the task.

Two plain workers serve different queues on one daemon. Each claim at the end is checked against the API and against
Docker's own events, which tell how many containers were created for the task.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import setup_python
from setup_screen import Step, Stop

from engine.cli import screen
from engine.cli.job_stream import ENDED, EventUpdate, LogLine, TaskUpdate, follow
from engine.client import Client, Json
from engine.errors import FerrymanError
from engine.model.names import TASK
from engine.runtime.docker.client import Client as Docker
from engine.runtime.docker.client import translated
from engine.standalone.ephemeral import RunningStandalone
from engine.wording.text import for_terminal

IMAGE = "ubuntu:mantic"
#: Queue of the stand-alone's own worker, which must adopt work of a queue that it does not serve.
OTHER = "default"
_QUEUE = "count"
_LINES, _KILL_AFTER = 30, 10
_TEXT = f"""\
name: count to {_LINES}
queue: {_QUEUE}
image: {IMAGE}
run: |
  i=0
  while [ $i -lt {_LINES} ]; do i=$((i + 1)); echo "line $i"; sleep 0.5; done
retry: {{limit: 1}}
"""
_READY_SECONDS, _WHOLE_SECONDS, _END_SECONDS = 40.0, 150.0, 7.0
_DIE_WITH_PARENT = os.path.join(setup_python.ROOT, "engine", "standalone", "die_with_parent.py")
#: Variables kept from the new worker: it must find broker and rows by the stand-alone's data directory.
_FOREIGN = ("FERRYMAN_BROKER_URL", "FERRYMAN_DATABASE_URL", "FERRYMAN_API_URL", "FERRYMAN_FAILPOINT")


def play(running: RunningStandalone, stage: contextlib.ExitStack) -> bool:
    """Run the demo on a stack that serves `OTHER`; return whether every claim held. Raises Stop, FerrymanError."""
    client = Client(running.url)
    step = Step("", "second worker: ")
    worker = stage.enter_context(_worker(running.data_dir))
    _wait_served(client, worker, running.data_dir)
    step.done(f"celery -A engine worker -Q {_QUEUE} -c 1 (process {worker.pid})")
    screen.print_line("")
    for line in _TEXT.splitlines():
        screen.print_line(f"    {line}", "faint")
    screen.print_line("")
    with _docker_events() as made:
        task = client.submit(_TEXT.encode())
        screen.print_line(f"POST /task  →  201  {task['id']}")
        story = _Story(client, worker)
        for update in _updates(client, task):
            story.take(update)
        story.task = client.task(task["id"])
        return _say_checks(story, made)


@contextlib.contextmanager
def _worker(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a plain Celery worker in a process group of its own; end it with the block, also after an error."""
    words = [sys.executable, "-P", "-m", "celery", "-A", "engine", "worker", "-Q", _QUEUE, "-c", "1"]
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
    with _said(data_dir).open("wb") as out:
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                _DIE_WITH_PARENT,
                str(os.getpid()),
                *words,
                "-n",
                f"{_QUEUE}-{os.getpid()}@%h",
            ],
            env=environment | {"FERRYMAN_DATA_DIR": str(data_dir), "NO_COLOR": "1"},
            cwd=data_dir,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The worker leads a session of its own: the group holds only the worker and its children.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_END_SECONDS)


def _said(data_dir: Path) -> Path:
    return data_dir / "second-worker.out"


def _wait_served(client: Client, worker: subprocess.Popen[bytes], data_dir: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not any(q.get("name") == _QUEUE and q.get("subscribers") for q in client.queues()):
        if worker.poll() is not None or time.monotonic() > deadline:
            words = _said(data_dir).read_text("utf-8", "replace").strip()
            raise Stop(f"\nthe second worker did not become ready:\n{words[-2000:]}", 1)
        time.sleep(0.1)


@contextlib.contextmanager
def _docker_events() -> Iterator[list[tuple[str, str, str]]]:
    """Collect (action, container, task) of Docker's events for containers of tasks while the block runs."""
    docker, heard = Docker(os.environ.get("FERRYMAN_DOCKER_HOST", "")), list[tuple[str, str, str]]()
    with translated("listening to Docker's events"):
        stream = docker.api.events(decode=True, filters={"type": "container", "label": TASK})

    def listen() -> None:
        for event in stream:
            actor = event.get("Actor", {})
            heard.append(
                (event.get("Action", ""), actor.get("ID", ""), actor.get("Attributes", {}).get(TASK, ""))
            )

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield heard
    finally:
        docker.close()


def _is_running(container: str) -> bool:
    docker = Docker(os.environ.get("FERRYMAN_DOCKER_HOST", ""))
    try:
        with translated("looking at the container"):
            return bool(docker.api.inspect_container(container)["State"]["Running"])
    finally:
        docker.close()


def _updates(client: Client, task: Json) -> Iterator[object]:
    """Yield what happens to the task and to the nodes, in the order of arrival, until the task has ended."""
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()
    for source in (follow(client, task), _of_nodes(client)):
        threading.Thread(target=_pour, args=(source, heard), daemon=True).start()
    deadline = time.monotonic() + _WHOLE_SECONDS
    while True:
        try:
            update = heard.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise Stop(f"\nthe task did not end within {_WHOLE_SECONDS:.0f} s", 1) from None
        if isinstance(update, FerrymanError):
            raise update
        if update is None:
            return
        yield update


def _of_nodes(client: Client) -> Iterator[object]:
    for event in client.events():
        if event.get("kind") == "node":
            yield EventUpdate(event)


def _pour(source: Iterable[object], heard: queue.SimpleQueue[object]) -> None:
    try:
        for update in source:
            heard.put(update)
        heard.put(None)
    except FerrymanError as exc:
        heard.put(exc)


@dataclass
class _Story:
    """Narrator: prints one fact per line, and kills the worker after _KILL_AFTER lines of its log."""

    client: Client
    worker: subprocess.Popen[bytes]
    task: Json = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    container: str = ""
    killed_at: float | None = None
    ran_on: bool = False
    adopted_after: float | None = None
    adopted_by: str = ""
    ends: list[str] = field(default_factory=list)

    def take(self, update: object) -> None:
        """Print an update and remember what the checks need."""
        if isinstance(update, LogLine) and update.stream:
            self.lines.append(update.text)
            _tell(f"  {screen.log_line(update.text)}", "faint")
            if len(self.lines) == _KILL_AFTER and self.killed_at is None:
                self._kill()
        elif isinstance(update, TaskUpdate):
            self.task = update.task
        elif isinstance(update, EventUpdate):
            self._happened(update.event)

    def _happened(self, event: Json) -> None:
        kind, to, reason = event.get("kind"), str(event.get("to") or ""), str(event.get("reason") or "")
        if kind == "node" and to == "LAPSED":
            _tell(f"node {_short(event)} LAPSED: {for_terminal(reason)}", "warn")
        elif kind == "repair" and self.killed_at is not None:
            self.adopted_after = self.adopted_after or time.monotonic() - self.killed_at
            self.adopted_by = self._queues_of(str(event.get("node") or ""))
            _tell(for_terminal(reason), "good")
            _tell(f"by node {_short(event)}, which serves queue {self.adopted_by}", "good")
            _tell(f"the log continues after line {len(self.lines)}", "good")
        elif kind == "task" and to:
            self.ends += [to] if to in ENDED else []
            _tell(to, "good" if to == "COMPLETED" else "bad" if to in ENDED else None)

    def _queues_of(self, node_id: str) -> str:
        node = next((node for node in self.client.nodes() if node.get("id") == node_id), {})
        return ", ".join(node.get("queues") or ()) or "?"

    def _kill(self) -> None:
        self.task = self.client.task(self.task["id"])
        self.container = next((str(k.get("containerId") or "") for k in self.task.get("links") or ()), "")
        _tell(f"kill -9 of the worker, process group {self.worker.pid}", "bad")
        self.killed_at = time.monotonic()
        _kill(self.worker)
        self.ran_on = _is_running(self.container)
        goes = "still runs, Docker says" if self.ran_on else "no longer runs"
        _tell(f"the worker is dead; container {self.container[:12]} {goes}", "warn")


def _short(event: Json) -> str:
    return str(event.get("node") or "?")[:8]


def _tell(words: str, style: str | None = None) -> None:
    screen.print_line(f"  {time.strftime('%H:%M:%S')}  {words}", style)


def _say_checks(story: _Story, made: list[tuple[str, str, str]]) -> bool:
    """Print each claim with what was found, and return whether all hold."""
    screen.print_line("")
    checks = list(_checks(story, made))
    for holds, words in checks:
        screen.print_line(f"  {'✓' if holds else '✗'} {words}", "good" if holds else "bad")
    return all(holds for holds, _ in checks)


def _checks(story: _Story, made: list[tuple[str, str, str]]) -> Iterator[tuple[bool, str]]:
    task = story.task
    links = task.get("links") or []
    last = str(links[0].get("containerId") or "") if len(links) == 1 else ""
    _wait_for_end(made, task["id"])
    born = [id for action, id, of in made if of == task["id"] and action == "create"]
    started = [id for action, id, of in made if of == task["id"] and action == "start"]
    yield story.worker.poll() == -signal.SIGKILL, "the worker was killed by SIGKILL, and was not restarted"
    yield story.ran_on, "its container continued without it"
    same = bool(last) and born == started == [last] and last == story.container
    counts = f"created {len(born)} and started {len(started)} for this task"
    yield same, f"it is the same container: Docker {counts} ({last[:12]})"
    yield _whole(story.lines)
    used, limit = (task.get("retry") or {}).get("attempts"), (task.get("retry") or {}).get("limit")
    yield (
        (used, task.get("attempt"), task.get("crashes")) == (0, 1, 1),
        f"no retry was used: {used} of {limit}, attempt {task.get('attempt')}; "
        f"crashes of workers are counted separately: {task.get('crashes')}",
    )
    after = story.adopted_after
    took = f"{after:.1f} s after the kill" if after is not None else "never"
    yield after is not None, f"adopted {took}, by a worker of another queue ({story.adopted_by or 'none'})"
    yield story.ends == ["COMPLETED"], f"the task ended once: {', '.join(story.ends) or 'never'}"


def _whole(lines: list[str]) -> tuple[bool, str]:
    wanted = [f"line {i}" for i in range(1, _LINES + 1)]
    missing, doubled = len(set(wanted) - set(lines)), len(lines) - len(set(lines))
    order = "in order" if lines == wanted else "not in order"
    return (
        lines == wanted,
        f"{len(lines)} of {_LINES} log lines: {missing} missing, {doubled} duplicated, {order}",
    )


def _wait_for_end(made: list[tuple[str, str, str]], task_id: str) -> None:
    """Wait for the event of the removal of the task's container: events arrive a moment late."""
    deadline = time.monotonic() + _END_SECONDS
    while not any(action == "destroy" and of == task_id for action, _, of in made):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
