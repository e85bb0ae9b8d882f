"""Workers and APIs born with their modules loaded: the tests start hundreds.

Most of what `python -m celery -A engine worker` costs before its first line of work is imports, each time the
same. Here one process has done them, and forks when asked. The child gets arguments, environment, output and
session of its own and runs the module as `python -m` does; nothing of ours is configured before that.
The stand-alone's tests, and workers in network namespaces, start the plain command.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Loaded once. Not what reads the environment or names the process: engine.celery, engine.worker.bootstrap and
#: engine.standalone.gunicorn_conf.
_LOADED = (
    *("celery.bin.celery", "celery.apps.worker", "celery.concurrency.thread"),
    *(
        "kombu.transport.redis",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
    ),
    *("engine.dispatch.control", "engine.reconcile.loop", "engine.runtime.docker.runtime"),
    *(
        "engine.worker.intake.consumer",
        "engine.worker.node.shutdown",
        "engine.worker.execute.task",
        "engine.worker.node.threads",
    ),
    *("engine.worker.daemon.sweeper", "engine.worker.intake.watchdog"),
    *("gunicorn.app.wsgiapp", "engine.standalone.request_timeout", "api"),
)
_MOST_BYTES = 1 << 17


class Born:
    """A process of the nursery, to be used as a subprocess.Popen."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        # Nobody waits for it before we ask, so the number cannot be another's yet.
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        if self.returncode is None:
            ready, _, _ = select.select([self._ended], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = self._nursery.ask(reap=self.pid)
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end in order."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks; it ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions = count()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(60)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nursery", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        module: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        err: Path | None = None,
    ) -> Born:
        """`python -m MODULE WORDS` from the project's root, in a session of its own.

        What it says is appended to `out`, what it complains of to `err` when that is another file.
        """
        out.touch()  # a caller may read it before the child has come so far
        what = {"module": module, "words": list(words), "environment": dict(environment)}
        return Born(self, self.ask(**what, out=str(out), err=str(err or out)))

    def ask(self, **wish: Any) -> int:
        """One question, one number."""
        with self._lock:
            mine = next(self._questions)
            self._socket.send(json.dumps({**wish, "question": mine}).encode())
            while answer := self._socket.recv(_MOST_BYTES):
                question, number = map(int, answer.split())
                # An earlier one is of a test whose time ran out while it asked.
                if question == mine:
                    return number
        raise AssertionError(f"the nursery ended: {self._process.wait(10)}")


@cache
def nursery() -> Nursery:
    """This process's nursery, begun when the first test asks."""
    return Nursery()


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Answer until the other side has ended, and let none outlive it; in a child: what it is to be."""
    children: set[int] = set()
    while wish := asked.recv(_MOST_BYTES):
        what = json.loads(wish)
        if "reap" in what:
            pid, status = os.waitpid(what["reap"], 0)
            children.remove(pid)
            asked.send(f"{what['question']} {os.waitstatus_to_exitcode(status)}".encode())
            continue
        child = os.fork()
        if child == 0:
            # Before it answers: whoever knows its number may signal its group.
            os.setsid()
            asked.send(f"{what['question']} {os.getpid()}".encode())
            asked.close()
            return dict(what)
        children.add(child)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    return None


def _become(what: Mapping[str, Any]) -> None:
    for descriptor, name in ((1, what["out"]), (2, what["err"])):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    # From here on it collects what a plain process would, at the same cost.
    gc.unfreeze()
    os.environ.clear()
    os.environ.update(what["environment"])
    # The one module among the loaded that reads the environment.
    importlib.reload(importlib.import_module("engine.failpoints"))
    sys.argv = [what["module"], *what["words"]]
    # What a worker begins anew with, told by SIGHUP.
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    runpy.run_module(what["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    """Load, then fork as asked."""
    for name in _LOADED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork takes along no thread but its own"
    gc.collect()
    gc.freeze()
    what = _serve(socket.socket(fileno=int(sys.argv[1])))
    if what is not None:
        _become(what)


if __name__ == "__main__":
    main()
