"""Listening socket of the API, and the process that uses a port already."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from engine.errors import FerrymanError, SettingsError
from engine.settings import refuse_outside
from engine.wording.text import harmless, shorten

#: State of a listening socket in /proc/net/tcp.
_LISTENING = "0A"


class PortInUse(FerrymanError):
    """Another process listens on the port; the message names the process if possible, and the option to use."""


@dataclass(frozen=True)
class Owner:
    """Process that listens on a port."""

    pid: int
    command: str


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on (host, port); port 0 takes a free one.

    The supervisor keeps the socket open while the API restarts, so that clients wait and are not refused.
    Raises PortInUse with the process that uses the port, and SettingsError for an address that is not of loopback.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        # A name, localhost too, resolves to whatever the host's files say.
        refuse_outside(server.getsockname()[0])
        server.listen(1024)
    except SettingsError:
        server.close()
        raise
    except OSError as exc:
        server.close()
        if exc.errno == errno.EADDRINUSE:
            raise PortInUse(_in_use_message(port)) from exc
        raise PortInUse(
            f"cannot listen on {host} port {port}: {exc.strerror}; choose others with --host and --port"
        ) from exc
    return server


def free_port() -> int:
    """Return a port of the loopback address that is free at this moment."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback address now."""
    with contextlib.closing(socket.socket()) as probe:
        # As servers do: connections that have just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_own(port: int) -> bool:
    """Return whether each process that listens on this port belongs to this user."""
    users = {uid for uid, _ in _listeners(port)}
    return users == {os.geteuid()}


def _in_use_message(port: int) -> str:
    return (
        f"port {port} is in use by {owner_words(port)}; stop it, or choose another port with --port (0 takes a "
        "free one)"
    )


def owner_words(port: int) -> str:
    """Return the words for the process that listens on this port."""
    owner = find_owner(port)
    return f"process {owner.pid} ({owner.command})" if owner else "a process of another user"


def find_owner(port: int) -> Owner | None:
    """Return the process that listens on this TCP port; None when there is none or it cannot be seen."""
    inodes = {f"socket:[{inode}]" for _, inode in _listeners(port)}
    if not inodes:
        return None
    for process in sorted((p for p in Path("/proc").glob("[0-9]*")), key=lambda p: int(p.name)):
        if _open_sockets(process) & inodes:
            return Owner(int(process.name), _command(process))
    return None


def _listeners(port: int) -> set[tuple[int, str]]:
    """Return user and inode of each socket that listens on this port."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # no /proc, or no IPv6: try the other table
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add((int(fields[7]), fields[9]))
    return sockets


def _open_sockets(process: Path) -> set[str]:
    targets = set()
    try:
        for entry in os.scandir(process / "fd"):
            with contextlib.suppress(OSError):  # closed by now
                targets.add(os.readlink(entry.path))
    except OSError:
        return set()  # a process of another user, or one that has ended
    return targets


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended by now"
    text = " ".join(word.decode("utf-8", "replace") for word in words if word)
    if " standalone" in text and ("ferryman" in text or "engine.cli.main" in text):
        return "ferryman standalone"
    if "engine.standalone.gunicorn_conf" in text:
        return "ferryman api"
    return shorten(harmless(text, instead="?"))
