"""Starts broker, API and a worker per queue, minds them, and ends them in the right order.

1. hold the data directory and the port; 2. broker, until it answers; 3. API and workers; 4. wait until the API
answers and each queue is served, say Ready; 5. start again what dies; 6. at a signal: workers (they detach,
their containers go on), API, broker. It reads no rows and knows no task: it stays small and hard to kill.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from engine import __version__
from engine.client import ApiError, ApiUnavailable, Client
from engine.errors import FerrymanError
from engine.settings import Settings, refuse_outside, without_password
from engine.standalone import broker, datadir, ports
from engine.standalone.child import Child, Command

_BROKER_SECONDS = 30.0
_READY_SECONDS = 60.0
#: A worker detaches and ends within 5 s of its SIGTERM; what is later is stuck.
_WORKER_SECONDS = 7.0
_STOP_SECONDS = 5.0
_TICK_SECONDS = 0.1
#: The same once all is ready: a child that died waits half a second anyway.
_REST_SECONDS = 0.25
#: A child that dies this often before all is ready will not get better.
_MOST_STARTS = 3
_LABEL_COLUMNS = 19


class NotStarted(FerrymanError):
    """A part did not come up; the message holds its last words."""


@dataclass(frozen=True)
class Plan:
    """What to run. `settings` are those of the command line and the environment, before a broker is known."""

    settings: Settings
    queues: tuple[tuple[str, int], ...]
    verbose: bool = False
    #: Containers and volumes are removed at the end: for `ferryman run` and the demo.
    ephemeral: bool = False


def run(plan: Plan, out: Callable[[str], None]) -> int:
    """Run until a signal ends it; returns the exit status.

    Raises DataDirInUse, PortTaken, NoBroker, SettingsError, NotStarted, each with what to do.
    """
    refuse_outside(plan.settings.api.host)
    with datadir.held(plan.settings.path):
        datadir.remove_run_file(plan.settings.path)
        with ports.listen(plan.settings.api.host, plan.settings.api.port) as server:
            return Supervisor(plan, server, out).run()


@dataclass
class Supervisor:
    """One run of the stand-alone. Children are started from the main thread only (die_with_parent.py)."""

    plan: Plan
    server: socket.socket
    out: Callable[[str], None]
    settings: Settings = field(init=False)
    children: list[Child] = field(default_factory=list)
    _signals: int = 0
    #: A second Ctrl-C: end the containers too. A second SIGTERM or SIGHUP is only an echo.
    _killing: bool = False
    _woken: threading.Event = field(default_factory=threading.Event)
    _said: threading.Lock = field(default_factory=threading.Lock)
    _broker_words: str = ""

    def __post_init__(self) -> None:
        host, port = self.server.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.settings = self.plan.settings.replace(port=port, api_url=url)

    def run(self) -> int:
        """All of it, from the first child to the last."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        began = time.monotonic()
        try:
            self._start_broker()
            self._start_others()
            self._say_plan()
            self._wait_ready(began)
            while not self._signals:
                self._mind(_REST_SECONDS)
            return 0
        finally:
            self._stop()

    def _start_broker(self) -> None:
        url = broker.configured_url()
        if url:
            self._broker_words = f"{broker.ping(url)}, configured by FERRYMAN_BROKER_URL"
            self.settings = self.settings.replace(broker_url=url)
            return
        embedded = broker.prepare(self.settings.path)
        self.settings = self.settings.replace(broker_url=embedded.url)
        self._broker_words = f"{embedded.program.title}, embedded, append-only file on"
        child = self._child("broker", embedded.command, dict(os.environ))
        child.hushed = True
        child.start()
        if not self._broker_answers(child, embedded.url) and broker.set_aside(embedded):
            self._say(
                "broker", "cannot read its file: set aside. Nothing is lost, all that waits is sent again"
            )
            child.start()
            self._broker_answers(child, embedded.url)
        if words := child.failed():
            raise NotStarted(f"the broker did not start ({embedded.program.path}):\n{words}")
        child.hushed = False

    def _broker_answers(self, child: Child, url: str) -> bool:
        deadline = time.monotonic() + _BROKER_SECONDS
        while time.monotonic() < deadline and not child.failed() and not self._signals:
            if broker.answers(url):
                return True
            self._woken.wait(0.02)
        return False

    def _start_others(self) -> None:
        environment = {**os.environ, **self.settings.environment()}
        python = (sys.executable, "-P", "-m")
        # The socket is bound already: in front of the host and port of the configuration.
        bind = ("--bind", f"fd://{self.server.fileno()}")
        serve = (*python, "gunicorn", "--config", "python:engine.standalone.gunicorn_conf", *bind)
        self._child("api", serve, environment, (self.server.fileno(),)).start()
        for queue, slots in self.plan.queues:
            name = f"{queue}-{os.getpid()}@%h"
            words = (*python, "celery", "-A", "engine", "worker", "-Q", queue, "-c", str(slots), "-n", name)
            self._child(f"worker/{queue}", (*words, "-l", "INFO"), environment).start()

    def _child(
        self, name: str, words: tuple[str, ...], environment: dict[str, str], fds: tuple[int, ...] = ()
    ) -> Child:
        child = Child(
            Command(name, words, environment, self.settings.path, fds, may_leave=name.startswith("worker/")),
            self._say,
            self.plan.verbose,
        )
        self.children.append(child)
        return child

    def _say_plan(self) -> None:
        store = "SQLite, broker" if self.settings.store.is_sqlite else "broker"
        slots = " · ".join(f"{name}: {count} slot{'s' * (count != 1)}" for name, count in self.plan.queues)
        self.out(f"Ferryman {__version__}  standalone")
        note = "(loopback only; see docs/security.rst to open it)"
        self._fact("API and dashboard", f"{self.settings.api.api_url}   {note}")
        self._fact("data", f"{datadir.shown(self.settings.path)}  ({store})")
        if not self.settings.store.is_sqlite:
            self._fact("database", without_password(self.settings.store.database_url))
        self._fact("broker", self._broker_words)
        self._fact("worker", slots)

    def _fact(self, label: str, words: str) -> None:
        self.out(f"  {label:<{_LABEL_COLUMNS - 1}} {words}")

    def _wait_ready(self, began: float) -> None:
        client = Client(self.settings.api.api_url, timeout_seconds=5)
        self._write_run_file(ready=False)
        wanted = {name for name, _ in self.plan.queues}
        deadline = began + _READY_SECONDS
        while missing := wanted - self._served(client):
            if self._signals:
                return
            if time.monotonic() > deadline:
                self._say("supervisor", f"no worker serves {', '.join(sorted(missing))} yet: ferryman doctor")
                break
            self._mind()
            self._give_up_on_the_hopeless()
        if not missing:
            self._fact("docker", _daemon(client))
        self._write_run_file(ready=not missing)
        self.out(
            f"Ready in {time.monotonic() - began:.1f} s. Ctrl-C stops taking work and leaves running containers "
            "to the next start; a second one kills them."
        )

    def _served(self, client: Client) -> set[str]:
        """The queues that a live node serves; none while the API does not answer."""
        try:
            client.health()
            return {str(q.get("name")) for q in client.queues() if q.get("subscribers")}
        except ApiUnavailable:
            return set()
        except ApiError as exc:
            if exc.status < 500:
                raise NotStarted(
                    f"{self.settings.api.api_url} answers, but not as Ferryman does: {exc}"
                ) from exc
            return set()

    def _give_up_on_the_hopeless(self) -> None:
        for child in self.children:
            if child.restarts >= _MOST_STARTS:
                raise NotStarted(f"{child.name} does not start; its last words are above")

    def _write_run_file(self, ready: bool) -> None:
        s = self.settings
        found = {
            "broker_url": s.broker.broker_url,
            "database_url": s.store.database_url,
            "api_url": s.api.api_url,
        }
        more = {"pid": os.getpid(), "ready": ready, "broker": self._broker_words}
        datadir.write_run_file(s.path, found | more)

    def _mind(self, seconds: float = _TICK_SECONDS) -> None:
        for child in self.children:
            child.mind()
        self._woken.wait(seconds)

    def _stop(self) -> None:
        """Workers, then API, then broker: nobody loses what it still needs to end in order."""
        datadir.remove_run_file(self.settings.path)
        workers = [c for c in self.children if c.name.startswith("worker/")]
        rest = [c for c in reversed(self.children) if c not in workers]
        for child in workers:
            child.terminate()
        # Its start takes as long as the workers' end: both at once.
        counting = self._containers() if workers else None
        self._end_workers(workers)
        killing = self._killing or self.plan.ephemeral
        if counting and counting.stdin:
            with contextlib.suppress(BrokenPipeError):  # it ended early: its words say why
                counting.stdin.write("remove\n" if killing else "running\n")
                counting.stdin.flush()
        for child in rest:
            child.hushed = child.name == "broker"
            child.terminate()
            child.end(_STOP_SECONDS)
        if counting:
            self._say_left(counting, killing)

    def _end_workers(self, workers: list[Child]) -> None:
        deadline = time.monotonic() + _WORKER_SECONDS
        while any(c.pid for c in workers) and time.monotonic() < deadline and not self._killing:
            self._woken.clear()
            self._woken.wait(0.05)
        for child in workers:
            if self._killing:
                child.kill()
            elif not child.end(0):
                self._say(child.name, f"did not end within {_WORKER_SECONDS:.0f} s: killed")

    def _containers(self) -> subprocess.Popen[str]:
        # A process of its own: Docker's client and SQLAlchemy would stay in the supervisor's memory for ever.
        words = [sys.executable, "-P", "-m", "engine.standalone.containers"]
        return subprocess.Popen(
            words,
            env={**os.environ, **self.settings.environment()},
            cwd=self.settings.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _say_left(self, counting: subprocess.Popen[str], killed: bool) -> None:
        try:
            said, complaint = counting.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            counting.kill()
            said, complaint = "", "Docker did not answer within 20 s"
        if counting.returncode != 0 or not said.strip().isdigit():
            last = complaint.strip().splitlines() or ["no answer"]
            self.out(f"Stopped. What runs on is not known: {last[-1]}")
            return
        self.out(_left(int(said), killed, self.plan.ephemeral))

    def _say(self, name: str, line: str) -> None:
        with self._said:
            self.out(f"{time.strftime('%H:%M:%S')}  {name:<16} {line}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._killing = self._killing or (number == signal.SIGINT and self._signals > 0)
        self._signals += 1
        self._woken.set()


def _left(count: int, killed: bool, ephemeral: bool) -> str:
    several = f"{count} container{'s' * (count != 1)}"
    if ephemeral:
        return "Stopped."
    if killed and count:
        ran = "what they ran starts" if count > 1 else "what it ran starts"
        return f"Stopped. {several} killed; {ran} again at the next start."
    if count:
        return f"Stopped. {several} go{'es' * (count == 1)} on; the next start takes over."
    return "Stopped. No container of ours runs."


def _daemon(client: Client) -> str:
    try:
        found = next((str(n["daemon"]) for n in client.nodes() if n.get("daemon")), "answers")
        return found.removeprefix("docker ")
    except FerrymanError as exc:
        return f"not known: {exc}"
