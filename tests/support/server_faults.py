"""Faults of servers, and the checks after every fault: each task ended once, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from engine.model.records import Event, Task
from engine.model.states import TaskState
from tests.support.databases import Postgres, missing
from tests.support.fleet import Fleet
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay
from tests.support.waiting import wait_until

#: A task that takes a while and says that it came to its end.
WORK = "name: work\nimage: busybox:1.36\nrun: 'sleep 3; echo -n done > $FERRYMAN_OUTPUT'\n"


def completed_once(fleet: Fleet, ids: Sequence[str], seconds: float, result: str | None = None) -> float:
    """Wait until all are COMPLETED at their first attempt, with one end each; return the seconds that passed."""
    began = time.monotonic()
    ended = fleet.ended(ids, seconds)
    took = time.monotonic() - began
    for task in ended:
        said = fleet.story(task.id)
        assert task.state is TaskState.COMPLETED, f"{task.error}\n{said}"
        assert task.attempt == 1, f"a fault of a server uses up no retry\n{said}"
        assert result is None or task.result == result, said
        # On PostgreSQL, events are read up to the oldest open transaction, so they may come later than the row.
        wait_until(partial(_ends, fleet, task), 20)
        assert len(_ends(fleet, task)) == 1, fleet.story(task.id)
    wait_until(lambda: not fleet.left_over(), 30)
    print(f"all ended after {took:.1f} s")
    return took


def _ends(fleet: Fleet, task: Task) -> list[Event]:
    return [e for e in fleet.events(task.id) if e.kind == "task" and e.to_state == TaskState.COMPLETED]


def busy(fleet: Fleet, count: int = 5, text: str = WORK) -> list[str]:
    """Start a worker with two running tasks, and others that wait in the broker."""
    fleet.worker("-c", "2")
    ids = fleet.submit(text, count)
    wait_until(lambda: sum(fleet.task(id).state is TaskState.RUNNING for id in ids) == 2, 30)
    wait_until(lambda: all(fleet.task(id).state is not TaskState.PENDING for id in ids), 20)
    return ids


def lasting(seconds: float) -> None:
    """Let the fault last. The duration is under test, so there is no condition to wait for."""
    threading.Event().wait(seconds)


@contextmanager
def repeating(call: Callable[[], object], pause: float) -> Iterator[None]:
    """Call again and again from a thread while the body runs."""
    done = threading.Event()

    def loop() -> None:
        while not done.wait(pause):
            call()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(30)


def empty(redis: RedisServer) -> None:
    """Kill a Redis, lose its data, and start it again."""
    redis.kill()
    for path in redis.directory.glob("appendonlydir/*"):
        path.unlink()
    redis.start()


def messages(fleet: Fleet, queue: str) -> int:
    """Return the messages that wait in a queue, at all priorities."""
    client = fleet.redis.client
    return sum(client.llen(key) for key in client.keys(f"{fleet.settings.broker.broker_prefix}{queue}*"))


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Stop every process of a PostgreSQL by SIGSTOP: connections stay, nothing answers."""
    with frozen_later(server) as freeze:
        freeze()
        yield


@contextmanager
def frozen_later(server: Postgres) -> Iterator[Callable[[], None]]:
    """Freeze as `frozen` does, but only when the yielded function is called."""
    postmaster = int((server.directory / "data/postmaster.pid").read_text().split()[0])
    stopped: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    def freeze() -> None:
        stop(postmaster)
        # It makes no more of them now.
        for pid in _children(postmaster):
            stop(pid)

    try:
        yield freeze
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def small_disk(directory: Path, megabytes: int, inodes: int = 100_000) -> Iterator[None]:
    """Mount a file system of this size at the directory; needs root."""
    if os.geteuid() != 0:
        missing("only root can mount a small file system")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _run(
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={megabytes}m,nr_inodes={inodes},mode=700",
        "tmpfs",
        str(directory),
    )
    try:
        yield
    finally:
        _run("umount", "--lazy", str(directory))


def grow(directory: Path, megabytes: int) -> None:
    """Enlarge a small disk."""
    _run("mount", "-o", f"remount,size={megabytes}m", str(directory))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


class Cut:
    """TCP proxy before PostgreSQL that cuts a connection at the COMMIT of a chosen transaction.

    `before`: the COMMIT never reaches the server. `after`: it does, and the server's answer is lost. For the
    client both are the same.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self._lock = threading.Lock()
        self._marker, self._when = b"", ""
        #: How many connections were cut.
        self.cuts = 0
        self._relay = Relay(listener, self._carry)

    def arm(self, marker: bytes, when: str) -> None:
        """Cut once, at the next COMMIT of a transaction in which these bytes went to the server."""
        with self._lock:
            self._marker, self._when = marker, when

    def close(self) -> None:
        """Accept no more connections."""
        self._relay.close()

    def _carry(self, client: socket.socket) -> None:
        # Either end may be killed at any moment: that is what these tests do.
        with (
            client,
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", self._server_port)) as server,
        ):
            said = b""
            while True:
                readable, _, _ = select.select([client, server], [], [], 60)
                for end in readable:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    if end is server:
                        client.sendall(data)
                        continue
                    said += data
                    if self._cuts(said, data, server):
                        return
                    server.sendall(data)
                    if data.endswith((b"COMMIT\0", b"ROLLBACK\0")):
                        said = b""

    def _cuts(self, said: bytes, data: bytes, server: socket.socket) -> bool:
        with self._lock:
            if not self._marker or not data.endswith(b"COMMIT\0") or self._marker not in said:
                return False
            self._marker = b""
            self.cuts += 1
        if self._when == "after":
            server.sendall(data)
            assert server.recv(1 << 16), "the server's word that it is committed"
        return True
