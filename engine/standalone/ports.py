"""The API's listening socket, and who holds a port that is taken."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from engine.errors import FerrymanError

#: State of a listening socket in /proc/net/tcp.
_LISTENING = "0A"


class PortTaken(FerrymanError):
    """Another process listens there; the message says who, if it can, and which option to use."""


@dataclass(frozen=True)
class Owner:
    """A process that listens on a port."""

    pid: int
    command: str


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on (host, port); port 0 takes a free one.

    The supervisor keeps it over restarts of the API, so that clients wait instead of being refused.
    Raises PortTaken, naming the process that has it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen(1024)
    except OSError as exc:
        server.close()
        if exc.errno == errno.EADDRINUSE:
            raise PortTaken(taken(port)) from exc
        raise PortTaken(f"cannot listen on {host} port {port}: {exc.strerror}; use --host, --port") from exc
    return server


def free_port() -> int:
    """A port of the loopback address that nobody has at this moment."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def taken(port: int) -> str:
    """The sentence for a port that is taken."""
    holder = owner(port)
    by = f"process {holder.pid} ({holder.command})" if holder else "a process of another user"
    return f"port {port} is taken by {by}: stop it, or choose another with --port (--port 0: a free one)"


def owner(port: int) -> Owner | None:
    """Who listens on this TCP port; None when nobody does, or when it may not be seen."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for process in sorted((p for p in Path("/proc").glob("[0-9]*")), key=lambda p: int(p.name)):
        if _open_sockets(process) & inodes:
            return Owner(int(process.name), _command(process))
    return None


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # no /proc, or no IPv6: the other table may still tell
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _open_sockets(process: Path) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(process / "fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(entry.path))
    except OSError:
        return set()  # another user's, or ended meanwhile
    return found


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended meanwhile"
    text = " ".join(word.decode("utf-8", "replace") for word in words if word)
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    if " standalone" in text and ("ferryman" in text or "engine.cli.main" in text):
        return "ferryman standalone"
    if "engine.standalone.gunicorn_conf" in text:
        return "ferryman api"
    return text if len(text) <= 60 else text[:59] + "…"
