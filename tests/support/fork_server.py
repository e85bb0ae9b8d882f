"""Fork server that starts workers and APIs with their modules already imported, because tests start hundreds.

Most of the start of `python -m celery -A engine worker` is imports, the same each time. One process imports the
modules once and forks on request. The child gets its own arguments, environment, output and session, and runs the
module as `python -m` does; nothing of Ferryman is configured before that. Tests of the stand-alone, and workers in
network namespaces, start the plain command.
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
#: Modules imported once. Without the modules that read the environment or name the process: engine.celery,
#: engine.worker.bootstrap and engine.standalone.gunicorn_conf.
_MODULES = (
    *("celery.bin.celery", "celery.apps.worker", "celery.concurrency.thread"),
    *(
        "kombu.transport.redis",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
    ),
    *("engine.dispatch.control", "engine.reconcile.lanes", "engine.runtime.docker.runtime"),
    *(
        "engine.worker.intake.consumer",
        "engine.worker.node.shutdown",
        "engine.worker.execute.task",
        "engine.worker.node.threads",
    ),
    *("engine.worker.daemon.sweeper", "engine.worker.intake.watchdog"),
    *("gunicorn.app.wsgiapp", "engine.standalone.bounded_worker", "api"),
)
_MOST_BYTES = 1 << 17


class ForkedProcess:
    """Child of the fork server, used like a subprocess.Popen."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        # The server reaps the child only on request, so the pid cannot be reused yet.
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process. Raises TimeoutExpired."""
        if self.returncode is None:
            ready, _, _ = select.select([self._ended], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = self._server.request(reap=self.pid)
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Client of the process that forks, which ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = count()
        self._socket, server_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(60)
        with server_socket:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(server_socket.fileno())],
                cwd=ROOT,
                pass_fds=[server_socket.fileno()],
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
    ) -> ForkedProcess:
        """Run `python -m MODULE WORDS` in the project's root and a new session.

        Standard output is appended to `out`, standard error to `err` or, by default, also to `out`.
        """
        out.touch()  # a caller may read the file before the child opens it
        request = {"module": module, "words": list(words), "environment": dict(environment)}
        return ForkedProcess(self, self.request(**request, out=str(out), err=str(err or out)))

    def request(self, **request: Any) -> int:
        """Send a request and return its answer, a pid or an exit status."""
        with self._lock:
            id = next(self._requests)
            self._socket.send(json.dumps({**request, "id": id}).encode())
            while answer := self._socket.recv(_MOST_BYTES):
                answered_id, number = map(int, answer.split())
                # An answer with an older id belongs to a test that timed out while it waited.
                if answered_id == id:
                    return number
        raise AssertionError(f"the fork server ended: {self._process.wait(10)}")


@cache
def fork_server() -> ForkServer:
    """Return the fork server of this process, started at the first call."""
    return ForkServer()


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Answer requests until the client ends, then kill all children; in a child, return the request to run."""
    children: set[int] = set()
    while message := connection.recv(_MOST_BYTES):
        request = json.loads(message)
        if "reap" in request:
            pid, status = os.waitpid(request["reap"], 0)
            children.remove(pid)
            connection.send(f"{request['id']} {os.waitstatus_to_exitcode(status)}".encode())
            continue
        child = os.fork()
        if child == 0:
            # Call setsid before answering: the client may signal the process group when it knows the pid.
            os.setsid()
            connection.send(f"{request['id']} {os.getpid()}".encode())
            connection.close()
            return dict(request)
        children.add(child)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    return None


def _run(request: Mapping[str, Any]) -> None:
    for descriptor, name in ((1, request["out"]), (2, request["err"])):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    # From here on the garbage collector works as in a plain process, at the same cost.
    gc.unfreeze()
    os.environ.clear()
    os.environ.update(request["environment"])
    # The only imported module that reads the environment.
    importlib.reload(importlib.import_module("engine.failpoints"))
    sys.argv = [request["module"], *request["words"]]
    # A worker restarts itself with these arguments on SIGHUP.
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    """Import the modules, then fork on request."""
    for name in _MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "fork copies only the calling thread"
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        _run(request)


if __name__ == "__main__":
    main()
