"""Settings of one process, in groups of frozen values: each option with its meaning, unit, default and bounds.

Each option is set by `FERRYMAN_` and its name in capitals. A wrong value is an error that names the
variable, never a silent default. Nothing here opens a connection; the one file that is read is the
`run.json` of a running stand-alone, so that a plain `celery -A engine worker` joins it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from engine.errors import SettingsError
from engine.settings import run_file
from engine.settings.groups import (
    LOOPBACK,
    ApiSettings,
    BrokerSettings,
    ClusterSettings,
    RuntimeSettings,
    StoreSettings,
    refuse_outside,
)
from engine.settings.option import Option, option
from engine.settings.run_file import RunFile
from engine.wording.url_secrets import without_password

__all__ = [
    "ApiSettings", "BrokerSettings", "ClusterSettings", "Option", "RuntimeSettings", "StoreSettings",
    "default_data_dir", "refuse_outside", "without_password",
]  # fmt: skip


_ESCAPES = "in a password, write %40 for an at sign, %2F for /, %23 for # and %3F for ?"
#: Parameters that Celery and the Redis library both understand.
_BROKER_PARAMETERS = {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "virtual_host"}
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{32,256}")


@dataclass(frozen=True)
class Settings:
    """Process: its directory, its log, and whether it shares its host. Read once, when the process starts."""

    data_dir: str = option("", "directory of the SQLite file, the embedded broker and work files (mode 0700)")
    one_host: bool = option(False, "1: all processes run on this host, whatever the name of the broker")
    patience_seconds: float = option(
        600.0,
        "time without its broker, or at a start without its database, after which a process leaves with status 75",
        low=1,
        high=86400,
    )
    log_level: str = option("INFO", "DEBUG, INFO, WARNING or ERROR")
    failpoint: str = option("", "for tests: the point in the code at which the process kills itself")
    api: ApiSettings = field(default_factory=ApiSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)

    @property
    def path(self) -> Path:
        """The data directory as a path."""
        return Path(self.data_dir)

    @property
    def private_places(self) -> tuple[str, ...]:
        """Paths that belong to Ferryman alone: the data directory, and a SQLite file wherever it is."""
        file = self.store.file
        return tuple(filter(None, (self.data_dir, file, file and f"{file}-wal", file and f"{file}-shm")))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Read the environment; `given` (a command line's options) wins. Raises SettingsError naming the variable."""
        return read_settings(environ, **given)[0]

    def replace(self, **values: Any) -> Settings:
        """Return these settings with other values of some options, each named without its group."""

        def changes(group: str) -> dict[str, Any]:
            return {name: value for name, value in values.items() if OPTIONS[name].group == group}

        inner = {name: dataclasses.replace(getattr(self, name), **changes(name)) for name in GROUPS if name}
        return dataclasses.replace(self, **inner, **changes(""))

    def value(self, about: Option) -> Any:
        """Return the value of an option."""
        return getattr(getattr(self, about.group) if about.group else self, about.name)

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process these very settings, passwords included: for `env=` only."""
        return {about.variable: about.write(self.value(about)) for about in OPTIONS.values()}


#: The groups, "" for what belongs to none, each with the class that defines it.
GROUPS: dict[str, Any] = {"": Settings} | {
    each.name: each.default_factory for each in dataclasses.fields(Settings) if not each.metadata
}
#: Every option by its name, which is unique among all groups.
OPTIONS: dict[str, Option] = {
    each.name: Option(each.name, group, str(each.type), each.default, **each.metadata)
    for group, holder in GROUPS.items()
    for each in dataclasses.fields(holder)
    if each.metadata
}


def default_data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the data directory of a shell that sets no variable of Ferryman."""
    env = os.environ if environ is None else environ
    share = env.get("XDG_DATA_HOME") or os.path.join(env.get("HOME", "~"), ".local", "share")
    return Path(share, "ferryman").expanduser().absolute()


def read_settings(environ: Mapping[str, str] | None = None, **given: Any) -> tuple[Settings, dict[str, str]]:
    """Return the settings as `from_env` does and, by option, where each value that is not a default comes from."""
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def fill(name: str, value: Any, origin: str) -> None:
        if value and not values.get(name):
            values[name], origins[name] = value, origin

    for name, about in OPTIONS.items():
        if given.get(name) is not None:
            values[name], origins[name] = given[name], "command line"
        elif (text := env.get(about.variable)) is not None:
            values[name], origins[name] = about.parse(text), about.variable
    if "docker_host" not in values:
        fill("docker_host", env.get("DOCKER_HOST"), "DOCKER_HOST")
    fill("data_dir", env.get("XDG_DATA_HOME") and str(default_data_dir(env)), "XDG_DATA_HOME")
    values["data_dir"] = str(Path(values.get("data_dir") or default_data_dir(env)).expanduser().absolute())
    path = Path(values["data_dir"]) / "run.json"
    running = run_file.read(path)
    for name in ("database_url", "broker_url", "api_url"):
        fill(name, running.get(name), "run.json")
    if values.get("api_url") == running.get("api_url"):
        # The token of a stand-alone is sent to no other API.
        fill("api_token", running.get("api_token"), "run.json")
    values["database_url"] = values.get("database_url") or f"sqlite:///{values['data_dir']}/ferryman.db"
    values["broker_url"] = values.get("broker_url") or "redis://127.0.0.1:6379/0"
    settings = Settings().replace(**values)
    _check(settings)
    if origins.get("broker_url") in (None, "run.json"):
        followed = RunFile(path, settings.store.database_url)
        broker = dataclasses.replace(settings.broker, run_file=followed)
        settings = dataclasses.replace(settings, broker=broker)
    return settings, origins


def _is_broker(url: SplitResult) -> bool:
    try:
        port = url.port
    except ValueError:
        return False
    if url.scheme == "redis+socket":
        return True
    return (
        url.scheme in ("redis", "rediss") and port != 0 and re.fullmatch(r"/?\d{0,4}", url.path) is not None
    )


def _check(settings: Settings) -> None:
    for about in OPTIONS.values():
        about.check(settings.value(about))
    if (token := settings.api.api_token) and not _TOKEN.fullmatch(token):
        raise SettingsError(
            "FERRYMAN_API_TOKEN: expected 32 to 256 letters, digits and -._~+/=; make one with `openssl rand -hex 32`"
        )
    broker = urlsplit(url := settings.broker.broker_url)
    if not _is_broker(broker):
        shown = without_password(url) if "://" in url else "(no URL)"
        raise SettingsError(f"FERRYMAN_BROKER_URL={shown}: expected redis://host:port/db; {_ESCAPES}")
    if unknown := dict(parse_qsl(broker.query, keep_blank_values=True)).keys() - _BROKER_PARAMETERS:
        # Celery and the Redis library would end in a traceback.
        raise SettingsError(
            f"FERRYMAN_BROKER_URL={without_password(url)}: unknown parameter {min(unknown)!r}: remove it; known are "
            f"{', '.join(sorted(_BROKER_PARAMETERS))}"
        )
    if settings.store.is_sqlite and broker.hostname not in (*LOOPBACK, None) and not settings.one_host:
        raise SettingsError(
            f"the broker is on {broker.hostname}, but the database is a file that only this host can read. Set"
            " FERRYMAN_DATABASE_URL to PostgreSQL, or FERRYMAN_ONE_HOST=1 if every process runs on this host"
        )
