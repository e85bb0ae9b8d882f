"""Groups of the settings. Each part of Ferryman is given its own group, not the whole."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from engine.errors import SettingsError
from engine.settings.option import option
from engine.settings.run_file import RunFile

LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: Capabilities of Docker's default set that containers lack unless the operator keeps them (docs/security.rst).
DROPPED_CAPABILITIES = ("MKNOD", "NET_RAW", "AUDIT_WRITE", "SETFCAP")


@dataclass(frozen=True)
class ApiSettings:
    """REST API: its address, and the bounds of what it serves."""

    host: str = option("127.0.0.1", "address that the API binds to")
    port: int = option(3000, "port of the API", low=0, high=65535)
    api_url: str = option("http://127.0.0.1:3000", "URL at which the command line finds the API")
    api_token: str = option(
        "",
        "token with which other accounts than the API's own and root use the API, and which the command line sends;"
        " at least 32 characters; default: the stand-alone's own",
        hidden=True,
    )
    no_token: bool = option(False, "1: every account of the host may use the API without a token")
    allowed_hosts: tuple[str, ...] = option((), "more names accepted in the Host header, separated by commas")
    api_threads: int = option(256, "threads that answer requests; an SSE client takes one", low=8, high=4096)
    sse_clients: int = option(200, "SSE clients at the same time; the next one gets 503", low=1, high=4000)
    body_bytes: int = option(1 << 20, "bytes of the largest request body", low=1024, high=1 << 26)

    @property
    def address(self) -> str:
        """Host and port as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names that a request may give as Host: the loopback names, the bound address, the allowed ones."""
        return tuple(dict.fromkeys([*LOOPBACK, "[::1]", self.host, *self.allowed_hosts]))


@dataclass(frozen=True)
class ClusterSettings:
    """Nodes and repairs: when a node has lapsed, and when lost work starts again. The same on every host."""

    lease_seconds: float = option(5.0, "time without a beat after which a node lapses", low=0.5, high=3600)
    grace_min_seconds: float = option(15.0, "shortest wait before lapsed work restarts", low=0, high=3600)
    grace_max_seconds: float = option(300.0, "longest wait before lapsed work restarts", low=0, high=86400)
    restart_grace_seconds: float = option(300.0, "restart wait after a node left in order", low=0, high=86400)
    drain_timeout_seconds: float = option(0.0, "time for running links after SIGTERM", low=0, high=86400)
    max_crashes: int = option(5, "crashes in quick succession after which a task fails", low=1, high=1000)
    calm_seconds: float = option(600.0, "time on a node that clears the count of crashes", low=1, high=86400)
    resend_seconds: float = option(10.0, "first wait before a lost message is resent", low=0.2, high=600)

    @property
    def beat_seconds(self) -> float:
        """Seconds between two beats of a node: a fifth of the lease (see docs/protocol.rst)."""
        return self.lease_seconds / 5

    @property
    def grace_bounds(self) -> tuple[float, float, float]:
        """The bounds that `engine.model.retry.grace_ms` takes: least, most, and after an orderly leave."""
        return (self.grace_min_seconds, self.grace_max_seconds, self.restart_grace_seconds)


@dataclass(frozen=True)
class RuntimeSettings:
    """Docker and containers: the daemon, what tasks may use of the host, and the limits of a container."""

    docker_host: str = option("", "address of the Docker daemon; default: DOCKER_HOST, else the local socket")
    bind_sources: tuple[str, ...] = option(
        (), "host paths that tasks may mount, separated by commas; read-only unless the path ends in :rw"
    )
    networks: tuple[str, ...] = option((), "Docker networks that tasks may join, separated by commas")
    images: tuple[str, ...] = option(
        (),
        "images that tasks may use, such as registry.example.org/* or *, separated by commas; empty: every image"
        " except those of a registry at an IP address or at localhost",
    )
    sandbox: str = option(
        "pod",
        "pod: the containers of one attempt share a network namespace, made ahead where possible; slot: attempts"
        " also share one, one after another (fastest, but a task sees traces of the one before); none: each"
        " container has its own",
        choices=("pod", "slot", "none"),
    )
    warm_sandboxes: int = option(2, "sandboxes that a worker keeps ready, at most its slots", low=0, high=256)
    default_memory: str = option("2g", "memory of a container whose task sets no limit")
    default_cpus: str = option("", "CPUs of a container whose task sets no limit; empty: all")
    max_memory: str = option("", "most memory that a task may ask for, such as 8g; empty: no ceiling")
    max_shm: str = option(
        "", "most shared memory (shm) that a task may ask for, such as 1g; empty: no ceiling"
    )
    max_timeout_seconds: float = option(
        0.0,
        "longest time of an attempt, also of a task without a time-out; 0: no ceiling",
        low=0,
        high=366 * 86400,
    )
    keep_capabilities: tuple[str, ...] = option(
        (),
        "capabilities that containers keep although Ferryman drops them: any of MKNOD, NET_RAW, AUDIT_WRITE,"
        " SETFCAP, separated by commas",
        choices=DROPPED_CAPABILITIES,
    )
    pids_limit: int = option(4096, "processes that a container may have", low=16, high=1 << 20)
    docker_timeout_seconds: float = option(30.0, "longest call, except pulls and waits", low=1, high=600)
    pull_timeout_seconds: float = option(1800.0, "longest pull of an image", low=1, high=86400)
    kill_grace_seconds: float = option(0.8, "time between SIGTERM and SIGKILL", low=0, high=60)
    result_bytes: int = option(64 << 10, "bytes of the largest result that is kept", low=1024, high=1 << 24)
    output_bytes: int = option(
        1 << 30, "bytes that a link may keep in its output directory; beyond them it is killed", low=1 << 20
    )
    output_files: int = option(
        10_000, "files and directories that a link may keep in its output directory", low=16, high=1_000_000
    )
    reserve_bytes: int = option(
        64 << 20,
        "bytes of the data directory's disk, at most a sixteenth of it, that are given up when it is full; 0: none",
        low=0,
    )
    log_bytes: int = option(
        64 << 20,
        "bytes of log kept of one task: the first half and the newest lines; a note tells the size of the gap",
        low=1 << 16,
    )


@dataclass(frozen=True)
class StoreSettings:
    """Database: where it is, and how long a statement may wait."""

    database_url: str = option("", "SQLAlchemy URL; default: ferryman.db in the data directory", secret=True)
    store_timeout_seconds: float = option(30.0, "longest time of a statement", low=1, high=600)

    @property
    def is_sqlite(self) -> bool:
        """Return whether the database is a SQLite file, which only this host can read."""
        return self.database_url.startswith("sqlite")

    @property
    def file(self) -> str:
        """The path of the SQLite file; "" for another database."""
        return urlsplit(self.database_url).path[1:] if self.is_sqlite else ""


@dataclass(frozen=True)
class BrokerSettings:
    """Broker: where it is, its keys, and how messages are sent."""

    broker_url: str = option("", "Redis URL; default: redis://127.0.0.1:6379/0", secret=True)
    broker_prefix: str = option("ferryman:", "prefix of every key in the broker")
    default_queue: str = option("default", "queue of tasks that name none, and of workers without -Q")
    flush_batch: int = option(200, "rows that the flusher takes at once", low=1, high=10000)
    #: Set when no URL was configured: a stand-alone may start again at another address.
    run_file: RunFile | None = field(default=None, compare=False)

    def current_url(self) -> str:
        """Return the URL at which the broker is now; only that of a stand-alone ever changes.

        Raises SettingsError for a run.json that is not to be trusted.
        """
        return (self.run_file.broker_url() if self.run_file else None) or self.broker_url


def refuse_outside(host: str) -> None:
    """Raise SettingsError for an address that other hosts can reach: the API has no TLS and no users.

    gunicorn's own variable is refused too, because it could bind another address than the one that is checked here.
    """
    if "GUNICORN_CMD_ARGS" in os.environ:
        raise SettingsError(
            "GUNICORN_CMD_ARGS is set and could bind the API to another address: unset it, and choose the address "
            "with --host and --port, or FERRYMAN_HOST and FERRYMAN_PORT"
        )
    if host != "localhost" and not _is_loopback(host):
        raise SettingsError(
            f"{host} is not an address of loopback: it may be reachable from outside, where the API would have no TLS."
            " Keep 127.0.0.1, and reach it through an SSH tunnel (ssh -L 3000:127.0.0.1:3000 HOST)"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name resolves to anything, 127.example.org too.
        return False
