"""Docker daemon of this run: the one that answers, else one that is started here and stopped at the end."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

import setup_apt
from setup_screen import Step, Stop

_DIE_WITH_PARENT = os.path.join(
    os.path.dirname(setup_apt.__file__), "..", "engine", "standalone", "die_with_parent.py"
)
_SOCKET = "/var/run/docker.sock"
_START_SECONDS = 30
_NO_RULES = ["--iptables=false", "--ip6tables=false"]


class _Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def version(host: str) -> str:
    """Return the version of the daemon at this address, "" when none answers. Raises PermissionError."""
    parts = urlsplit(host)
    line = (
        _Unix(parts.path) if parts.scheme == "unix" else http.client.HTTPConnection(parts.netloc, timeout=10)
    )
    try:
        line.request("GET", "/_ping")
        answer = line.getresponse()
        server = answer.headers.get("Server", "")
        return server.partition("/")[2].split(" ")[0] or "?" if answer.status == 200 else ""
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        line.close()


def find() -> tuple[str, str] | None:
    """Return (address, version) of the daemon that answers, None when none does. Raises PermissionError."""
    configured = os.environ.get("FERRYMAN_DOCKER_HOST") or os.environ.get("DOCKER_HOST")
    rootless = os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "docker.sock")
    denied = None
    for host in [configured] if configured else [f"unix://{_SOCKET}", f"unix://{rootless}"]:
        try:
            if answer := version(host):
                return host, answer
        except PermissionError as exc:
            denied = exc
    if denied:
        raise denied
    return None


def refuse_early() -> None:
    """Raise Stop, before anything is changed, if no daemon answers and none can be started."""
    try:
        if find():
            return
        for variable in ("FERRYMAN_DOCKER_HOST", "DOCKER_HOST"):
            if host := os.environ.get(variable):
                raise Stop(f"no Docker daemon answers at {host}: start it, or unset {variable}")
        if os.geteuid() == 0:
            if shutil.which("dockerd") or setup_apt.may_install():
                return
            raise Stop(
                "no Docker daemon answers, and this system has no apt-get to install one: install Docker Engine "
                "and start it, or set DOCKER_HOST to a daemon that runs"
            )
        reason = "no Docker daemon answers, and only root may install or start one"
    except PermissionError:
        reason = "Docker is installed, but this user has no access to it"
    raise Stop(
        f"{reason}.\nJoin the group (sudo usermod -aG docker $USER, then log in again), use rootless Docker "
        f"(set DOCKER_HOST), or run: sudo {sys.argv[0]}"
    )


class Daemon:
    """Docker daemon of this run, as a context manager: a daemon that it started is stopped at the end."""

    def __init__(self) -> None:
        self.started = False
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def __enter__(self) -> Daemon:
        daemon = find()
        if daemon:
            host, number = daemon
            os.environ["DOCKER_HOST"] = host
            Step("docker", f"{number} at {host}").done()
            return self
        self._folder = tempfile.mkdtemp(prefix="ferryman-docker-")
        try:
            self._install_and_start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _install_and_start(self) -> None:
        if shutil.which("dockerd"):
            step = Step("docker", "installed, but no daemon runs: starting one for this run")
        else:
            step = Step("docker", "not installed: installing Debian's docker.io and iptables")
            setup_apt.install(["docker.io", "iptables"], os.path.join(self._folder, "apt.log"))
            if daemon := find():
                # The service manager started it on installation: it belongs to the machine, and stays.
                step.done(f"; {daemon[1]} runs as a service now")
                return
            step.done()
            step = Step("", "daemon started for this run")
        try:
            note = self._start()
        except BaseException:
            step.broken()
            raise
        step.done(note)

    def _start(self) -> str:
        log = os.path.join(self._folder, "dockerd.log")
        for flags, note in (([], ""), (_NO_RULES, " (without iptables: containers reach only this host)")):
            if self._comes_up(flags, log):
                self.started = True
                return note
            self.stop()
        raise Stop(f"dockerd did not start:\n{setup_apt.last_lines(log)}")

    def _comes_up(self, flags: list[str], log: str) -> bool:
        command = ["dockerd", "--pidfile", os.path.join(self._folder, "dockerd.pid"), *flags]
        with open(log, "w") as out:
            self._process = subprocess.Popen(
                # If this script is killed, the daemon ends with it.
                [sys.executable, "-I", "-S", _DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if version(f"unix://{_SOCKET}"):
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        """Stop the daemon if it was started here."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def __exit__(self, *error: object) -> None:
        self.stop()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
