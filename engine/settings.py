"""Every option of Ferryman, in one frozen value: its meaning, unit, default and bound.

Each field is set by `FERRYMAN_` and its name in capitals. A wrong value is an error that names the
variable, never a silent default. Nothing here opens a connection; the one file that is read is the
`run.json` of a running stand-alone, so that a plain `celery -A engine worker` joins it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.errors import SettingsError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def option(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, secret: bool = False
) -> Any:
    """A field of Settings with its help text and, for numbers, its bounds."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """What one process was told. Read once at its start, by `from_env`."""

    data_dir: str = option("", "directory of the SQLite file, the embedded broker and work files (mode 0700)")
    database_url: str = option("", "SQLAlchemy URL; default: ferryman.db in data_dir", secret=True)
    broker_url: str = option(
        "", "Redis URL; default: the running stand-alone's, else the local one", secret=True
    )
    broker_prefix: str = option("ferryman:", "what every key in the broker begins with")
    one_host: bool = option(
        False, "all processes run on this host, although the broker's name does not say so"
    )

    host: str = option("127.0.0.1", "address that the API binds to")
    port: int = option(3000, "port of the API", low=0, high=65535)
    api_url: str = option("http://127.0.0.1:3000", "where the command line finds the API")
    allowed_hosts: str = option("", "further names that requests may give as Host, separated by commas")
    api_threads: int = option(
        256, "threads that answer requests; each SSE client takes one", low=8, high=4096
    )
    sse_clients: int = option(200, "SSE clients at once; the next gets 503", low=1, high=4000)
    body_bytes: int = option(1 << 20, "largest request body", low=1024, high=1 << 26)

    docker_host: str = option("", "Docker daemon; default: DOCKER_HOST, else the local socket")
    bind_sources: str = option(
        "", "host paths that tasks may bind, separated by commas; :rw makes one writable"
    )
    networks: str = option(
        "", "Docker networks that tasks may ask for, separated by commas; none is always allowed"
    )
    sandbox: str = option(
        "pod",
        "pod: the containers of one attempt share a network namespace, made ahead where that can be; plain: each has"
        " its own; slot: attempts share one too, one after another (quickest, and they see each other's traces)",
    )
    warm_sandboxes: int = option(
        2, "network namespaces that a worker keeps ready, never more than its slots", low=0, high=256
    )
    default_memory: str = option("2g", "memory of a container whose task gives no limit")
    default_cpus: str = option("", "CPUs of a container whose task gives no limit; empty: all")
    pids_limit: int = option(4096, "processes a container may have", low=16, high=1 << 20)
    docker_timeout: float = option(
        30.0, "seconds a Docker call may take, pulls and waits aside", low=1, high=600
    )
    pull_timeout: float = option(1800.0, "seconds a pull may take", low=1, high=86400)
    kill_grace: float = option(0.8, "seconds between TERM and KILL on cancel and time-out", low=0, high=60)
    result_bytes: int = option(64 << 10, "largest result that is kept", low=1024, high=1 << 24)
    log_bytes: int = option(
        64 << 20,
        "bytes of log kept of one task: its first half and its end; what is cut between is said",
        low=1 << 16,
    )

    queue_default: str = option("default", "queue of tasks that name none, and of workers without -Q")
    lease_seconds: float = option(
        5.0, "a node whose beat stands still this long has lapsed", low=0.5, high=3600
    )
    grace_min: float = option(
        15.0, "seconds at least before lapsed work starts again elsewhere", low=0, high=3600
    )
    grace_max: float = option(
        300.0, "seconds at most before lapsed work starts again elsewhere", low=0, high=86400
    )
    restart_grace: float = option(300.0, "the same after a worker left in order", low=0, high=86400)
    drain_timeout: float = option(0.0, "seconds that SIGTERM lets running links end", low=0, high=86400)
    max_crashes: int = option(5, "crashes in quick succession after which a task fails", low=1, high=1000)
    calm_seconds: float = option(
        600.0, "a hold this long starts the count of crashes again", low=1, high=86400
    )
    resend_seconds: float = option(
        10.0, "first wait before a message that seems lost is sent again", low=0.2, high=600
    )
    store_timeout: float = option(30.0, "seconds a statement waits for the database", low=1, high=600)
    flush_batch: int = option(200, "rows the flusher takes at once", low=1, high=10000)
    failpoint: str = option("", "for tests: the process dies by SIGKILL at this point")
    log_level: str = option("INFO", "DEBUG, INFO, WARNING or ERROR")

    @property
    def beat_seconds(self) -> float:
        """Seconds between two beats of a node: a fifth of the lease (DESIGN, beat)."""
        return self.lease_seconds / 5

    @property
    def grace_bounds(self) -> tuple[float, float, float]:
        """What `engine.model.retry.grace_ms` is given: least, most, and after a leave in order, in seconds."""
        return (self.grace_min, self.grace_max, self.restart_grace)

    @property
    def path(self) -> Path:
        """The data directory as a path."""
        return Path(self.data_dir)

    @property
    def is_sqlite(self) -> bool:
        """True when the rows live in a file of this host."""
        return self.database_url.startswith("sqlite")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names that a request may give as Host: the loopback ones, the bound address, the allowed ones."""
        named = [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]
        return tuple(dict.fromkeys([*LOOPBACK, "[::1]", self.host, *named]))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Read the environment; `given` (a command line's options) wins over it.

        Raises SettingsError naming the variable when a value is no number, out of bounds or unusable.
        """
        env = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for f in fields(cls):
            if given.get(f.name) is not None:
                values[f.name] = given[f.name]
            elif (text := env.get(variable(f.name))) is not None:
                values[f.name] = _parse(f.name, str(f.type), text)
        values.setdefault("docker_host", env.get("DOCKER_HOST", ""))
        values["data_dir"] = str(Path(values.get("data_dir") or _data_dir(env)).expanduser().absolute())
        running = _run_file(Path(values["data_dir"]))
        if not values.get("database_url"):
            values["database_url"] = (
                running.get("database_url") or f"sqlite:///{values['data_dir']}/ferryman.db"
            )
        if not values.get("broker_url"):
            values["broker_url"] = running.get("broker_url") or "redis://127.0.0.1:6379/0"
        if not values.get("api_url") and running.get("api_url"):
            values["api_url"] = running["api_url"]
        settings = cls(**values)
        _check(settings)
        return settings

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these very settings. Holds passwords: for `env=` only."""
        return {variable(f.name): _text(getattr(self, f.name)) for f in fields(self)}


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"FERRYMAN_{name.upper()}"


def without_password(url: str) -> str:
    """The URL with its password struck out, for logs and answers: up to the last @, since it may hold some."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)


def refuse_outside(host: str) -> None:
    """Raise SettingsError for an address to bind to that others can reach: there is no authentication yet."""
    if host not in LOOPBACK and not host.startswith("127."):
        raise SettingsError(
            f"{host} is reachable from outside and no authentication is set up (tokens come with a later "
            "release): keep 127.0.0.1 and reach it through an SSH tunnel (ssh -L 3000:127.0.0.1:3000 HOST)"
        )


def _text(value: Any) -> str:
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def _data_dir(env: Mapping[str, str]) -> str:
    base = env.get("XDG_DATA_HOME") or os.path.join(env.get("HOME", "~"), ".local", "share")
    return os.path.join(base, "ferryman")


def _run_file(data_dir: Path) -> dict[str, Any]:
    """What a running stand-alone wrote, or nothing. A file that others may read is not believed."""
    path = data_dir / "run.json"
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} may be read by others: chmod 600 it, it holds the broker's password")
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except PermissionError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}; set FERRYMAN_DATA_DIR") from exc
    except ValueError as exc:
        raise SettingsError(f"{path} is no JSON: remove it, then start the stand-alone again") from exc
    return found if isinstance(found, dict) else {}


def _parse(name: str, kind: str, text: str) -> Any:
    try:
        if kind == "bool":
            if text.lower() not in ("0", "1", "true", "false", "yes", "no", ""):
                raise ValueError
            return text.lower() in ("1", "true", "yes")
        if kind == "float" and math.isnan(float(text)):
            raise ValueError  # it passes every bound
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:
        wanted = {"int": "a whole number", "float": "a number", "bool": "0 or 1"}[kind]
        raise SettingsError(f"{variable(name)}={text!r}: expected {wanted}") from None


def _check(settings: Settings) -> None:
    for f in fields(settings):
        value, low, high = getattr(settings, f.name), f.metadata["low"], f.metadata["high"]
        if low is not None and value < low:
            raise SettingsError(f"{variable(f.name)}={value}: at least {low}")
        if high is not None and value > high:
            raise SettingsError(f"{variable(f.name)}={value}: at most {high}")
    if settings.sandbox not in ("pod", "slot", "none"):
        raise SettingsError(f"FERRYMAN_SANDBOX={settings.sandbox!r}: pod, slot or none")
    broker = urlsplit(settings.broker_url)
    if broker.scheme not in ("redis", "rediss", "redis+socket"):
        raise SettingsError("FERRYMAN_BROKER_URL: expected redis://host:port/db")
    if settings.is_sqlite and broker.hostname not in (*LOOPBACK, None) and not settings.one_host:
        raise SettingsError(
            f"the broker is on {broker.hostname}, the database is a file of this host, unseen by others. Set"
            " FERRYMAN_DATABASE_URL to PostgreSQL, or FERRYMAN_ONE_HOST=1 if all runs here"
        )
