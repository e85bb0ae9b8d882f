"""Supervisor of broker, API and one worker per queue.

1. lock the data directory and open the port; 2. start the broker and wait for it; 3. start API and workers; 4. wait
until the API answers and each queue has a worker; 5. restart dead children; 6. on a signal stop workers (they detach,
their containers go on), API, broker. It reads no rows and knows no tasks, which keeps it small and reliable.
"""

from __future__ import annotations

import contextlib
import os
import shlex
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
from engine.errors import FerrymanError, SettingsError
from engine.settings import Settings, default_data_dir, refuse_outside, without_password
from engine.standalone import broker, datadir, ports
from engine.standalone.child import Child, Command
from engine.telemetry.patience import Stopped, wait_for

_BROKER_SECONDS = 30.0
_READY_SECONDS = 60.0
#: A worker detaches and ends within 5 s of SIGTERM; a later one is stuck.
_WORKER_SECONDS = 7.0
_STOP_SECONDS = 5.0
_STARTING_TICK_SECONDS = 0.1
#: Slower when all is ready: a dead child waits half a second anyway.
_READY_TICK_SECONDS = 0.25
#: Give up when a child dies this often before all is ready.
_MOST_RESTARTS = 3
_LABEL_COLUMNS = 19


class NotStarted(FerrymanError):
    """Broker, API or worker that did not start; the message contains its last output."""


@dataclass(frozen=True)
class Plan:
    """Parts to run. `settings` come from the command line and the environment and have no embedded broker yet."""

    settings: Settings
    queues: tuple[tuple[str, int], ...]
    verbose: bool = False
    #: Remove containers and volumes at the end, for `ferryman run` and the demo.
    ephemeral: bool = False


def run(plan: Plan, print_line: Callable[[str], None]) -> int:
    """Run until a signal; return the exit status.

    Raises DataDirInUse, PortInUse, BrokerProgramNotFound, SettingsError, NotStarted, each with a remedy.
    """
    refuse_outside(plan.settings.api.host)
    with datadir.locked(plan.settings.path):
        datadir.remove_run_file(plan.settings.path)
        with ports.listen(plan.settings.api.host, plan.settings.api.port) as server:
            return Supervisor(plan, server, print_line).run()


@dataclass
class Supervisor:
    """Run of the stand-alone. Start children from the main thread only (see die_with_parent.py)."""

    plan: Plan
    server: socket.socket
    print_line: Callable[[str], None]
    settings: Settings = field(init=False)
    children: list[Child] = field(default_factory=list)
    _signals: int = 0
    #: Set by a second Ctrl-C: kill the containers too. A second SIGTERM or SIGHUP changes nothing.
    _is_killing: bool = False
    _wakeup: threading.Event = field(default_factory=threading.Event)
    _output_lock: threading.Lock = field(default_factory=threading.Lock)
    _broker_description: str = ""

    def __post_init__(self) -> None:
        host, port = self.server.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        token = self.plan.settings.api.api_token or datadir.api_token(self.plan.settings.path)
        self.settings = self.plan.settings.replace(port=port, api_url=url, api_token=token)

    def run(self) -> int:
        """Start all children, restart them until a signal, then stop them; return the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        began = time.monotonic()
        try:
            self._start_broker()
            self._start_others()
            self._print_banner()
            self._wait_ready(began)
            while not self._signals:
                self._restart_children(_READY_TICK_SECONDS)
            return 0
        except Stopped:
            return 0
        finally:
            self._stop()

    def _start_broker(self) -> None:
        url = broker.configured_url()
        if url:
            answer = wait_for(
                "the broker of FERRYMAN_BROKER_URL (unset it to embed a broker)",
                lambda: broker.ping(url),
                lambda line: self._print_for("supervisor", line),
                self.settings.patience_seconds,
                self._wakeup,
            )
            self._broker_description = f"{answer.description}, configured by FERRYMAN_BROKER_URL"
            if answer.eviction:
                self._print_for("broker", answer.eviction)
            self.settings = self.settings.replace(broker_url=url)
            return
        embedded = broker.prepare(self.settings.path)
        if embedded.moved:
            self._print_for("broker", embedded.moved)
        self.settings = self.settings.replace(broker_url=embedded.url)
        self._broker_description = f"{embedded.program.title}, embedded, append-only file on"
        child = self._child("broker", embedded.command, dict(os.environ))
        child.is_muted = True
        child.start()
        if not self._broker_answers(child, embedded.url) and broker.move_unreadable_file(embedded):
            self._print_for("broker", "moved its unreadable file aside; all waiting tasks are sent again")
            child.start()
            self._broker_answers(child, embedded.url)
        if output := child.last_output():
            raise NotStarted(f"the broker did not start; last output of {embedded.program.path}:\n{output}")
        child.is_muted = False

    def _broker_answers(self, child: Child, url: str) -> bool:
        deadline = time.monotonic() + _BROKER_SECONDS
        while time.monotonic() < deadline and not child.last_output() and not self._signals:
            if broker.is_ready(url):
                return True
            self._wakeup.wait(0.02)
        return False

    def _start_others(self) -> None:
        environment = {**os.environ, **self.settings.replace(api_token="").environment()}
        serving = {**environment, "FERRYMAN_API_TOKEN": self.settings.api.api_token}
        # Pass the open socket; it takes precedence over host and port of the configuration.
        bind = ("--bind", f"fd://{self.server.fileno()}")
        python = (sys.executable, "-P", "-m")
        serve = (
            *python,
            "engine.standalone.serve",
            "--config",
            "python:engine.standalone.gunicorn_conf",
            *bind,
        )
        self._child("api", serve, serving, (self.server.fileno(),)).start()
        for queue, slots in self.plan.queues:
            name = f"{queue}-{os.getpid()}@%h"
            command = (*python, "celery", "-A", "engine", "worker", "-Q", queue, "-c", str(slots), "-n", name)
            self._child(f"worker/{queue}", (*command, "-l", "INFO"), environment).start()

    def _child(
        self, name: str, argv: tuple[str, ...], environment: dict[str, str], fds: tuple[int, ...] = ()
    ) -> Child:
        child = Child(
            Command(name, argv, environment, self.settings.path, fds, may_leave=name.startswith("worker/")),
            self._print_for,
            self.plan.verbose,
        )
        self.children.append(child)
        return child

    def _print_banner(self) -> None:
        store = "SQLite, broker" if self.settings.store.is_sqlite else "broker"
        slots = " · ".join(f"{name}: {count} slot{'s' * (count != 1)}" for name, count in self.plan.queues)
        self.print_line(f"Ferryman {__version__}  standalone")
        note = "(loopback only; see docs/security.rst to open it)"
        self._print_fact("API and dashboard", f"{self.settings.api.api_url}   {note}")
        self._print_fact("data", f"{datadir.with_tilde(self.settings.path)}  ({store})")
        if not self.settings.store.is_sqlite:
            self._print_fact("database", without_password(self.settings.store.database_url))
        self._print_fact("broker", self._broker_description)
        self._print_fact("workers", slots)
        if self.settings.path != default_data_dir():
            # One variable joins workers, doctor and the command line, whatever else was given.
            self._print_fact(
                "other terminals", f"export FERRYMAN_DATA_DIR={shlex.quote(self.settings.data_dir)}"
            )

    def _print_fact(self, label: str, words: str) -> None:
        self.print_line(f"  {label:<{_LABEL_COLUMNS - 1}} {words}")

    def _wait_ready(self, began: float) -> None:
        client = Client(self.settings.api.api_url, timeout_seconds=5)
        self._write_run_file(ready=False)
        queues = {name for name, _ in self.plan.queues}
        deadline = began + _READY_SECONDS
        while missing := queues - self._served_queues(client):
            if self._signals:
                return
            if time.monotonic() > deadline:
                names = ", ".join(sorted(missing))
                self._print_for("supervisor", f"no worker serves {names} yet; run ferryman doctor")
                break
            self._restart_children()
            self._raise_if_child_keeps_dying()
        if not missing:
            self._print_fact("docker", _daemon_description(client))
        self._write_run_file(ready=not missing)
        self.print_line(
            f"Ready in {time.monotonic() - began:.1f} s. Ctrl-C stops; running containers go on, and the next start "
            "takes them over. A second Ctrl-C kills them."
        )

    def _served_queues(self, client: Client) -> set[str]:
        """Return the queues that a live node serves; an empty set while the API does not answer."""
        try:
            client.health()
            return {str(q.get("name")) for q in client.queues() if q.get("subscribers")}
        except ApiUnavailable:
            return set()
        except ApiError as exc:
            if exc.status < 500:
                raise NotStarted(f"no Ferryman API answers at {client.url}: {exc}") from exc
            return set()

    def _raise_if_child_keeps_dying(self) -> None:
        for child in self.children:
            if child.restarts >= _MOST_RESTARTS:
                raise NotStarted(f"{child.name} ended {child.restarts} times; see its output above")

    def _write_run_file(self, ready: bool) -> None:
        s = self.settings
        addresses = {
            "broker_url": s.broker.broker_url,
            "database_url": s.store.database_url,
            "api_url": s.api.api_url,
            "api_token": s.api.api_token,
        }
        content = {**addresses, "pid": os.getpid(), "ready": ready, "broker": self._broker_description}
        datadir.write_run_file(s.path, content)

    def _restart_children(self, seconds: float = _STARTING_TICK_SECONDS) -> None:
        for child in self.children:
            child.restart_if_dead()
            if child.is_misconfigured:
                raise SettingsError(f"{child.name} cannot run, see its output above")
        self._wakeup.wait(seconds)

    def _stop(self) -> None:
        """Stop workers, then API, then broker, so that each child still has the ones it needs to end in order."""
        datadir.remove_run_file(self.settings.path)
        workers = [c for c in self.children if c.name.startswith("worker/")]
        rest = [c for c in reversed(self.children) if c not in workers]
        for child in workers:
            child.terminate()
        # The counter takes as long to start as the workers to end: run both at once.
        counter = self._start_container_counter() if workers else None
        self._end_workers(workers)
        is_killing = self._is_killing or self.plan.ephemeral
        if counter and counter.stdin:
            with contextlib.suppress(BrokenPipeError):  # it has ended; its error is printed below
                counter.stdin.write("remove\n" if is_killing else "running\n")
                counter.stdin.flush()
        for child in rest:
            child.is_muted = child.name == "broker"
            child.terminate()
            child.wait_or_kill(_STOP_SECONDS)
        if counter:
            self._print_stopped(counter, is_killing)

    def _end_workers(self, workers: list[Child]) -> None:
        deadline = time.monotonic() + _WORKER_SECONDS
        while any(c.pid for c in workers) and time.monotonic() < deadline and not self._is_killing:
            self._wakeup.clear()
            self._wakeup.wait(0.05)
        for child in workers:
            if self._is_killing:
                child.kill()
            elif not child.wait_or_kill(0):
                self._print_for(child.name, f"did not end within {_WORKER_SECONDS:.0f} s and was killed")

    def _start_container_counter(self) -> subprocess.Popen[str]:
        # A process of its own, because Docker's client and SQLAlchemy would stay in the supervisor's memory.
        command = [sys.executable, "-P", "-m", "engine.standalone.containers"]
        return subprocess.Popen(
            command,
            env={**os.environ, **self.settings.environment()},
            cwd=self.settings.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _print_stopped(self, counter: subprocess.Popen[str], killed: bool) -> None:
        try:
            output, error = counter.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            counter.kill()
            output, error = "", "Docker did not answer within 20 s"
        if counter.returncode != 0 or not output.strip().isdigit():
            reason = (error.strip().splitlines() or ["no answer"])[-1]
            self.print_line(f"Stopped. Could not count the containers that still run: {reason}")
            return
        self.print_line(_stopped_message(int(output), killed, self.plan.ephemeral))

    def _print_for(self, name: str, line: str) -> None:
        with self._output_lock:
            self.print_line(f"{time.strftime('%H:%M:%S')}  {name:<16} {without_password(line)}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._is_killing = self._is_killing or (number == signal.SIGINT and self._signals > 0)
        self._signals += 1
        self._wakeup.set()


def _stopped_message(count: int, killed: bool, ephemeral: bool) -> str:
    containers = f"{count} container{'s' * (count != 1)}"
    if ephemeral:
        return "Stopped."
    if killed and count:
        tasks = "their tasks restart" if count > 1 else "its task restarts"
        return f"Stopped. {containers} killed; {tasks} at the next start."
    if count:
        verb, them = ("are", "them") if count > 1 else ("is", "it")
        return f"Stopped. {containers} {verb} still running; the next start takes {them} over."
    return "Stopped. No container of this installation is running."


def _daemon_description(client: Client) -> str:
    try:
        daemon = next((str(n["daemon"]) for n in client.nodes() if n.get("daemon")), "answers")
        return daemon.removeprefix("docker ")
    except FerrymanError as exc:
        return f"unknown: {exc}"
