"""`ferryman doctor`: what a task needs, looked at one after the other, each fault with its remedy."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from engine.cli import screen
from engine.errors import BrokerUnavailable, FerrymanError, RuntimeUnavailable
from engine.settings import BrokerSettings, RuntimeSettings, Settings, StoreSettings, without_password

if TYPE_CHECKING:
    from engine.store.database import Database

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@dataclass(frozen=True)
class Finding:
    """One line: verdict (ok, warn, FAIL), what was looked at, and what was found with its remedy."""

    verdict: str
    what: str
    words: str


@click.command("doctor", short_help="Check what a task needs.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor_command(as_json: bool) -> None:
    """Check Docker, broker, database and queues as this shell's settings name them; exit 1 on a failure."""
    settings = Settings.from_env()
    findings: list[Finding] = []
    looks = (
        examine_docker(settings.runtime),
        examine_broker(settings.broker),
        examine_database(settings.store),
    )
    for finding in itertools.chain(*looks):
        findings.append(finding)
        if not as_json:
            _say(finding)
    failures = sum(f.verdict == "FAIL" for f in findings)
    warnings = sum(f.verdict == "warn" for f in findings)
    if as_json:
        screen.show_json([{"verdict": f.verdict, "what": f.what, "words": f.words} for f in findings])
    elif failures or warnings:
        screen.say(f"{_count(failures, 'failure')}, {_count(warnings, 'warning')}")
    else:
        screen.say("All is well.")
    sys.exit(1 if failures else 0)


def examine_docker(settings: RuntimeSettings) -> Iterator[Finding]:
    """Whether the daemon answers, and whether it keeps limits."""
    from engine.runtime.docker.client import Client, translated

    client = Client(settings.docker_host, min(settings.docker_timeout_seconds, 10.0))
    try:
        with translated("info"):
            info = client.api.info()
        space = _free_space(info.get("DockerRootDir") or "")
        words = f"{info.get('ServerVersion')} at {client.address}, {info.get('Driver')}{space}"
        yield Finding("ok", "docker", words)
        limits = {"MemoryLimit": "memory", "SwapLimit": "swap", "CpuCfsQuota": "CPU", "PidsLimit": "process"}
        lost = [word for name, word in limits.items() if info.get(name) is False]
        version = f"v{info.get('CgroupVersion') or '?'}"
        if lost:
            words = f"{version}: {', '.join(lost)} limits are not kept: boot with cgroup_enable=memory swapaccount=1"
            yield Finding("warn", "cgroups", words)
        else:
            yield Finding("ok", "cgroups", f"{version}: memory, swap, CPU and process limits are kept")
    except RuntimeUnavailable as exc:
        remedy = "start it (systemctl start docker, or dockerd), join the group docker, or set FERRYMAN_DOCKER_HOST"
        yield Finding("FAIL", "docker", f"{exc}: {remedy}")
    finally:
        client.close()


def _free_space(directory: str) -> str:
    """ ", 61 GB free" for the daemon's directory, "" when it is not on this host or may not be seen."""
    try:
        return f", {shutil.disk_usage(directory).free / 1e9:.0f} GB free"
    except OSError:
        return ""


def examine_broker(settings: BrokerSettings) -> Iterator[Finding]:
    """Whether it answers."""
    from engine.standalone import broker

    try:
        yield Finding("ok", "broker", broker.describe(settings))
    except BrokerUnavailable as exc:
        remedy = "start it, or a `ferryman standalone` that brings its own, or set FERRYMAN_BROKER_URL"
        yield Finding("FAIL", "broker", f"{exc}: {remedy}")


def examine_database(settings: StoreSettings) -> Iterator[Finding]:
    """Whether it can be used, and which queues hold tasks that nobody will take."""
    from engine.store.database import Database

    if settings.is_sqlite and (early := _examine_file(Path(urlsplit(settings.database_url).path[1:]))):
        yield early
        return
    database = Database(settings, pool=1)
    try:
        installation = database.open()
        words = f"{without_password(settings.database_url)}, installation {installation}"
        yield Finding("ok", "database", words)
        yield from _examine_queues(database)
    except FerrymanError as exc:
        remedy = "start it, or set FERRYMAN_DATABASE_URL"
        yield Finding("FAIL", "database", f"{without_password(settings.database_url)}: {exc}: {remedy}")
    finally:
        database.close()


def _examine_file(path: Path) -> Finding | None:
    """What keeps the SQLite file from being used, None when nothing does."""
    me = f"uid {os.geteuid()}"
    remedy = "chown it, or set FERRYMAN_DATA_DIR"
    for place in (path, path.parent):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            return Finding("FAIL", "database", f"{place} is not writable by {me}: {remedy}")
    if path.exists():
        return None
    there = next(p for p in path.parents if p.exists())
    if not os.access(there, os.W_OK):
        return Finding("FAIL", "database", f"{path} cannot be made by {me} in {there}: {remedy}")
    return Finding("ok", "database", f"{path} is not there yet: the first start makes it")


def _examine_queues(database: Database) -> Iterator[Finding]:
    from engine.model.states import NodeState, TaskState
    from engine.store import nodes, outbox

    with database.read() as c:
        depth, beating = outbox.depth(c), nodes.beating(c)
    served = {queue for node in beating if node.state is NodeState.LIVE for queue in node.queues}
    for name, states in sorted(depth.items()):
        waiting = sum(states.get(state, 0) for state in (TaskState.PENDING, TaskState.SCHEDULED))
        if waiting and name not in served:
            verb = "waits" if waiting == 1 else "wait"
            start = f"celery -A engine worker -Q {name} -c 3"
            words = f"{_count(waiting, 'task')} {verb} and no worker serves it: {start}"
            yield Finding("warn", f"queue {screen.harmless(name)}", words)


def _say(finding: Finding) -> None:
    verdict = click.style(f"{finding.verdict:<4}", fg=_COLOURS[finding.verdict])
    click.echo(f"  {verdict}  {finding.what:<8}   {screen.harmless(finding.words)}", color=screen.is_live())


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
