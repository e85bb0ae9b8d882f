"""Docker for tests: the daemon, images, a second daemon, and orders and sinks for a runtime."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from engine.errors import FerrymanError
from engine.jobspec.task import LinkSpec
from engine.model.records import LogFrame, LogPosition, RunKey, StreamPosition
from engine.runtime.base import Control, Order, Outcome, Prepared, Runtime
from engine.runtime.docker.client import Client
from engine.wording.times import seconds_since_1970
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BUSYBOX = "busybox:1.36"
ALPINE = "alpine:3.18.3"
UBUNTU = "ubuntu:mantic"
FFMPEG = "jrottenberg/ffmpeg:3.4-scratch"
_SPEC_KEYS = {field.name for field in fields(LinkSpec)}


def require_docker(*images: str) -> Client:
    """Return a client of the daemon and provide the images. Without a daemon skip the test, or fail it if CI=true."""
    client = Client(os.environ.get("FERRYMAN_DOCKER_HOST", ""))
    try:
        client.api.ping()
    except FerrymanError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Docker: {exc}")
        pytest.skip(f"no Docker: {exc}")
    _provide(images)
    return client


@cache
def _provide(images: Sequence[str]) -> None:
    provide(images)


def provide(images: Sequence[str], host: str = "") -> None:
    """Provide the images on the daemon, real ones or stand-ins."""
    environment = {**os.environ, **({"FERRYMAN_DOCKER_HOST": host} if host else {})}
    # The images are not removed: they have labels, and the next run needs them.
    done = subprocess.run(
        [str(ROOT / "deploy" / "images"), "--quiet", *images],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    if done.returncode:
        pytest.fail(f"deploy/images ended with {done.returncode}: {done.stderr}")


def second_daemon_possible() -> bool:
    """Return True if `Daemon` can run on this host: it needs root, dockerd and ip."""
    return os.geteuid() == 0 and shutil.which("dockerd") is not None and shutil.which("ip") is not None


class Daemon:
    """Second dockerd without a registry, with a bridge and a folder of its own, that a test can stop and start."""

    def __init__(self, *, live_restore: bool, within: Sequence[str] = ()) -> None:
        """Take as `within` the beginning of all commands, such as a namespace to run in."""
        self._within = tuple(within)
        # A short path: containerd has sockets below it, and a socket's path may have at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="fd"))
        self.host = f"unix://{self._folder / 'd.sock'}"
        self._bridge = f"fb{uuid.uuid4().hex[:8]}"
        self._live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        self.make_bridge()
        self.start()
        return self

    def make_bridge(self) -> None:
        """Make the network interface that the daemon's containers are connected to."""
        number = int(self._bridge[2:4], 16)
        _call(*self._within, "ip", "link", "add", self._bridge, "type", "bridge")
        _call(*self._within, "ip", "addr", "add", f"172.31.{number}.1/24", "dev", self._bridge)
        _call(*self._within, "ip", "link", "set", self._bridge, "up")

    def remove_bridge(self) -> None:
        """Remove that interface, under the running daemon."""
        _call(*self._within, "ip", "link", "del", self._bridge)

    @property
    def data(self) -> Path:
        """Directory of the daemon's containers and volumes."""
        return self._folder / "data"

    def keep_data_in_memory(self, megabytes: int) -> None:
        """Mount a file system of this size for the daemon's data; called before the start."""
        self.data.mkdir()
        _call("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.data))

    def kill_containerd(self) -> None:
        """Kill the daemon's containerd with SIGKILL, and keep the daemon from starting another."""
        pid = self._folder / "exec/containerd/containerd.pid"
        os.kill(int(pid.read_text()), signal.SIGKILL)

    def start_containerd(self) -> None:
        """Start another containerd with the same files, and wait until it answers."""
        config, socket = (
            self._folder / "exec/containerd" / name for name in ("containerd.toml", "containerd.sock")
        )
        socket.unlink(missing_ok=True)
        with open(self._folder / "containerd.log", "ab") as out:
            command = [*self._within, "containerd", "--config", str(config)]
            self._containerd = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        wait_until(socket.exists, 20)

    def __exit__(self, *error: object) -> None:
        self.start()
        client = Client(self.host)
        for item in client.api.containers(all=True):
            try:
                client.api.remove_container(item["Id"], force=True)
            except APIError as exc:
                # A worker that still runs removes containers too.
                if exc.status_code not in (404, 409):
                    raise
        self.stop()
        if self._containerd is not None:
            self._containerd.kill()
            self._containerd.wait(20)
        self.remove_bridge()
        for mounted in ("exec/netns/default", "data"):
            subprocess.run(["umount", "-q", str(self._folder / mounted)], check=False, timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, within: Sequence[str] = ()) -> None:
        """Start the daemon unless it runs, and wait until it answers; `within` also precedes its command."""
        if self._process is not None and self._process.poll() is None:
            return
        command = [
            *self._within,
            *within,
            "dockerd",
            "-H",
            self.host,
            "--bridge",
            self._bridge,
            "--iptables=false",
            "--ip6tables=false",
        ]
        command += ["--ip-masq=false", f"--live-restore={str(self._live_restore).lower()}"]
        for option, name in {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}.items():
            command += [f"--{option}", str(self._folder / name)]
        with open(self._folder / "dockerd.log", "ab") as out:
            # The proxy does not exist, so no registry answers, except on 127.0.0.1, which needs no proxy.
            environment = {
                **os.environ,
                "HTTPS_PROXY": "http://127.0.0.1:1",
                "HTTP_PROXY": "http://127.0.0.1:1",
            }
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True, env=environment
            )
        wait_until(self._answers, 30)

    def stop(self) -> None:
        """Stop the daemon by TERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the daemon by SIGKILL; its containerd dies with it, the shims of its containers do not."""
        self._end(signal.SIGKILL)
        # If nobody reaps orphans, the next dockerd takes the dead containerd for running and waits for ever.
        (self._folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def kill_under(self, container_id: str) -> None:
        """Kill containerd, the container's shim and its process by SIGKILL; the daemon and other containers go on.

        The daemon starts containerd again, and calls the container running for ever.
        """
        pid = Client(self.host).api.inspect_container(container_id)["State"]["Pid"]
        containerd = int((self._folder / "exec/containerd/containerd.pid").read_text())
        (shim,) = (
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if _command_line(path).startswith(b"containerd-shim")
            and container_id.encode() in _command_line(path)
        )
        # In this order: a containerd that lives cleans up after a shim, and reports the end.
        for victim in (containerd, shim, pid):
            os.kill(victim, signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)

    def _answers(self) -> bool:
        try:
            return bool(Client(self.host).api.ping())
        except FerrymanError:
            return False


def _command_line(path: Path) -> bytes:
    try:
        return path.read_bytes().rpartition(b"/bin/")[2]
    except OSError:
        return b""


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def an_order(installation: str, **values: Any) -> Order:
    """Make an order for a task of its own, in busybox with small limits; `values` change order, key and spec."""
    run = RunKey(values.pop("task_id", uuid.uuid4().hex), values.pop("attempt", 1), values.pop("origin", 1))
    spec = LinkSpec(**{"image": BUSYBOX} | {key: values.pop(key) for key in _SPEC_KEYS & values.keys()})
    order = Order(installation, "j" * 32, run, 1, 0, "main", spec, memory_bytes=64 << 20)
    return replace(order, **values)


@dataclass
class KeepingSink:
    """LogSink that keeps everything in memory, with the position that the store would have."""

    frames: list[LogFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def position(self) -> LogPosition:
        return LogPosition(self._of(1), self._of(2))

    def write(self, frames: Sequence[LogFrame]) -> None:
        self.frames.extend(frames)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def text(self, stream: int) -> bytes:
        """Return everything that one stream wrote."""
        return b"".join(frame.data for frame in self.frames if frame.stream == stream)

    def _of(self, stream: int) -> StreamPosition:
        stamps = [frame.stamp for frame in self.frames if frame.stream == stream]
        if not stamps:
            return StreamPosition()
        count = 0
        for stamp in reversed(stamps):
            if stamp != stamps[-1]:
                break
            count += 1
        return StreamPosition(stamps[-1], count)


@dataclass
class Running:
    """Call of `go` in a thread of its own, as in a worker."""

    prepared: Prepared
    sink: KeepingSink
    control: Control
    thread: threading.Thread
    outcome: Outcome | None = None
    error: Exception | None = None

    def end(self, seconds: float = 20.0) -> Outcome:
        """Return the outcome. Raises the exception of `go`, and AssertionError after `seconds`."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"go did not end within {seconds} s"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


def begin(
    runtime: Runtime, order: Order, sink: KeepingSink | None = None, prepared: Prepared | None = None
) -> Running:
    """Prepare in this thread, and go in another."""
    sink, control = sink or KeepingSink(), Control()
    prepared = prepared or runtime.prepare(order, sink, control)

    def body() -> None:
        try:
            running.outcome = runtime.go(prepared, sink, control)
        except Exception as exc:  # noqa: BLE001 - `end` raises it in the test's own thread
            running.error = exc

    running = Running(prepared, sink, control, threading.Thread(target=body, daemon=True))
    running.thread.start()
    return running


def begin_ready(runtime: Runtime, order: Order, sink: KeepingSink | None = None) -> Running:
    """Begin a link, and wait until its container has written its first line, `ready`."""
    running = begin(runtime, order, sink)
    wait_until(lambda: running.sink.text(1).startswith(b"ready\n"), 20)
    return running


def seconds_since(client: Client, container_id: str, moment: str) -> float:
    """Return the age of a moment in Docker's state of a container: StartedAt or FinishedAt."""
    state = client.api.inspect_container(container_id)["State"]
    return time.time() - seconds_since_1970(state[moment])


def run(runtime: Runtime, order: Order, sink: KeepingSink | None = None) -> Outcome:
    """Prepare and go; return the outcome."""
    sink, control = sink or KeepingSink(), Control()
    return runtime.go(runtime.prepare(order, sink, control), sink, control)
