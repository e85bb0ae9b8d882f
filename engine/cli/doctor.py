"""`ferryman doctor`: checks of Docker, broker, database and queues, each fault with its remedy."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import screen
from engine.cli.doctor_binds import bind_problems
from engine.client import Client as ApiClient
from engine.errors import BrokerRefused, BrokerUnavailable, FerrymanError, RuntimeUnavailable, StoreRefused
from engine.settings import (
    BrokerSettings,
    ClusterSettings,
    RuntimeSettings,
    Settings,
    StoreSettings,
    read_settings,
    without_password,
)
from engine.wording.durations import duration
from engine.wording.text import for_terminal
from engine.wording.times import rfc3339

if TYPE_CHECKING:
    from engine.model.records import Node
    from engine.store.database import Database

#: By the kind of the hold.
_HOLD_REMEDIES = {
    "runtime": "repair Docker on the node's host; the node tries a container of its own until one starts",
    "data directory": "make FERRYMAN_DATA_DIR on the node's host writable and free some space",
    "broker": "start the broker, or give the worker its address (FERRYMAN_BROKER_URL)",
}
#: A task without a running container has been tried again by then, or pulls an image.
_IDLE_MS = 60_000
_JOIN = "join a running one with the line `export FERRYMAN_DATA_DIR=…` of its banner"
_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@dataclass(frozen=True)
class Finding:
    """Result of one check: status (ok, warn, FAIL), name of the check, message, and a remedy for a fault."""

    status: str
    check: str
    message: str
    remedy: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor_command(as_json: bool) -> None:
    """Check Docker, broker, database and queues with the settings of this shell; exit 1 on a failure."""
    settings, origins = read_settings()
    findings: list[Finding] = []
    checks = (
        check_settings(settings, origins),
        check_api(settings, origins),
        check_docker(settings.runtime),
        check_binds(settings),
        check_broker(settings.broker),
        check_database(settings.store, settings.cluster),
    )
    for finding in itertools.chain(*checks):
        findings.append(finding)
        if not as_json:
            _print_finding(finding)
    failures = sum(f.status == "FAIL" for f in findings)
    warnings = sum(f.status == "warn" for f in findings)
    if as_json:
        screen.print_json([asdict(finding) for finding in findings])
    elif failures or warnings:
        screen.print_line(f"{_count(failures, 'failure')}, {_count(warnings, 'warning')}")
    else:
        screen.print_line("No problems found.")
    sys.exit(1 if failures else 0)


def check_settings(settings: Settings, origins: Mapping[str, str]) -> Iterator[Finding]:
    """Say whose settings are checked, and where each comes from."""
    places = {"database": "database_url", "broker": "broker_url", "API": "api_url"}
    words = [f"{label} from {origins.get(name, 'its default')}" for label, name in places.items()]
    directory = f"data directory {settings.data_dir} from {origins.get('data_dir', 'its default')}"
    yield Finding("ok", "settings", f"of this shell: {', '.join([directory, *words])}")


def check_api(settings: Settings, origins: Mapping[str, str]) -> Iterator[Finding]:
    """Check that an API answers where this shell names one; a worker's host needs none."""
    url = settings.api.api_url
    try:
        version = ApiClient(url, 5.0, settings.api.api_token).health().get("version", "")
    except FerrymanError as exc:
        if "api_url" in origins:
            yield Finding("warn", "api", str(exc))
        return
    yield Finding("ok", "api", f"Ferryman {version} at {url}")
    if "api_url" in origins and origins["api_url"] != "run.json" and "broker_url" not in origins:
        reason = f"FERRYMAN_API_URL names {url}, but this shell's broker and database may be others"
        yield Finding("warn", "api", reason, _JOIN)


def check_docker(settings: RuntimeSettings) -> Iterator[Finding]:
    """Check that the daemon answers, enforces limits and uses user namespaces."""
    from engine.runtime.docker.client import Client, translated

    client = Client(settings.docker_host, min(settings.docker_timeout_seconds, 10.0))
    try:
        with translated("info"):
            info = client.api.info()
        space = _free_space(info.get("DockerRootDir") or "")
        message = f"{info.get('ServerVersion')} at {client.address}, {info.get('Driver')}{space}"
        yield Finding("ok", "docker", message)
        limits = {"MemoryLimit": "memory", "SwapLimit": "swap", "CpuCfsQuota": "CPU", "PidsLimit": "process"}
        missing = [word for name, word in limits.items() if info.get(name) is False]
        version = f"v{info.get('CgroupVersion') or '?'}"
        if missing:
            remedy = "boot the host with cgroup_enable=memory swapaccount=1"
            message = f"{version}: Docker does not enforce limits of {', '.join(missing)}"
            yield Finding("warn", "cgroups", message, remedy)
        else:
            yield Finding("ok", "cgroups", f"{version}: memory, swap, CPU and process limits are enforced")
        yield user_namespaces(info.get("SecurityOptions") or ())
        yield from open_directory(info.get("DockerRootDir") or "")
    except RuntimeUnavailable as exc:
        remedy = "start Docker (systemctl start docker), join the group docker, or set FERRYMAN_DOCKER_HOST"
        yield Finding("FAIL", "docker", str(exc), remedy)
    finally:
        client.close()


def check_binds(settings: Settings) -> Iterator[Finding]:
    """Check that a worker here would let tasks mount what FERRYMAN_BIND_SOURCES lists."""
    remedy = "do what the message says, or remove the entry from FERRYMAN_BIND_SOURCES"
    for reason in bind_problems(settings):
        yield Finding("warn", "binds", reason, remedy)


def user_namespaces(security_options: Sequence[str]) -> Finding:
    """Return whether root in a container is another user on the host, by the daemon's security options."""
    names = {entry.partition("=")[2].partition(",")[0] for entry in security_options}
    if names & {"userns", "rootless"}:
        return Finding("ok", "userns", "root in a container is an unprivileged user on the host")
    remedy = "let only administrators log in on this host, or use rootless Docker"
    return Finding("warn", "userns", "root in a container is root on the host for the kernel", remedy)


def open_directory(directory: str) -> Iterator[Finding]:
    """Warn when other accounts can enter the daemon's directory, where the files of containers and volumes are."""
    try:
        is_open = bool(os.stat(directory).st_mode & 0o001)
    except OSError:
        # Not on this host, or closed to this account too.
        return
    if is_open:
        message = f"every account can enter {directory} and run set-user-id programs that tasks leave there"
        yield Finding("warn", "docker", message, f"update Docker, or chmod 0710 {directory}")


def _free_space(directory: str) -> str:
    """Return ", 61 GB free" for the daemon's directory, "" when this process cannot see the directory."""
    try:
        return f", {shutil.disk_usage(directory).free / 1e9:.0f} GB free"
    except OSError:
        return ""


def check_broker(settings: BrokerSettings) -> Iterator[Finding]:
    """Check that the broker answers."""
    from engine.standalone import broker

    try:
        answer = broker.ping(settings.broker_url)
        yield Finding("ok", "broker", answer.description)
        if answer.eviction:
            remedy = "redis-cli config set maxmemory-policy noeviction, and the same in its configuration"
            yield Finding("warn", "broker", answer.eviction, remedy)
    except BrokerUnavailable as exc:
        remedy = f"start it, or start `ferryman standalone`, or {_JOIN}, or set FERRYMAN_BROKER_URL"
        if isinstance(exc, BrokerRefused):
            remedy = "write its user and password into FERRYMAN_BROKER_URL: redis://:PASSWORD@HOST:6379/0"
        yield Finding("FAIL", "broker", str(exc), remedy)


def check_database(settings: StoreSettings, cluster: ClusterSettings) -> Iterator[Finding]:
    """Check the database, that each queue with waiting tasks has a worker, held nodes, and tasks that stand."""
    from engine.store.database import Database

    if settings.is_sqlite and (finding := _check_file(Path(settings.file))):
        yield finding
        return
    database = Database(settings, pool=1)
    try:
        installation = database.open()
        yield Finding(
            "ok", "database", f"{without_password(settings.database_url)}, installation {installation}"
        )
        yield from _check_queues(database)
        yield from _check_standing(database, cluster)
    except FerrymanError as exc:
        remedy = "start the database, or set FERRYMAN_DATABASE_URL"
        if isinstance(exc, StoreRefused):
            remedy = "correct FERRYMAN_DATABASE_URL, or make the database: createdb -E UTF8 -T template0 NAME"
        yield Finding("FAIL", "database", f"{without_password(settings.database_url)}: {exc}", remedy)
    finally:
        database.close()


def _check_file(path: Path) -> Finding | None:
    """Return why the SQLite file cannot be used or does not exist yet, None when it can be opened."""
    user = f"uid {os.geteuid()}"
    remedy = "change its owner, or set FERRYMAN_DATA_DIR"
    for place in (path, path.parent):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            return Finding("FAIL", "database", f"{user} cannot read and write {place}", remedy)
    if path.exists():
        return None
    parent = next(p for p in path.parents if p.exists())
    if not os.access(parent, os.W_OK):
        return Finding("FAIL", "database", f"{user} cannot create {path} in {parent}", remedy)
    return Finding("ok", "database", f"{path} does not exist yet; the first start creates it")


def _check_queues(database: Database) -> Iterator[Finding]:
    from engine.model.states import WAITING_TASKS
    from engine.store import nodes, outbox

    with database.read() as c:
        depth, beating = outbox.depth(c), nodes.beating(c)
    served = {queue for node in beating if node.serves for queue in node.queues}
    for name, states in sorted(depth.items()):
        waiting = sum(states.get(state, 0) for state in WAITING_TASKS)
        if waiting and name not in served:
            remedy = f"celery -A engine worker -Q {name} -c 3"
            message = f"{_count(waiting, 'task')} waiting, but no worker serves the queue"
            yield Finding("warn", f"queue {for_terminal(name)}", message, remedy)
    yield from _check_holds(beating)


def _check_holds(beating: Sequence[Node]) -> Iterator[Finding]:
    """Check that each node claims tasks, by its row: its own host may be another."""
    for node in beating:
        for held in node.holds:
            message = f"held since {rfc3339(held.since)}, claims nothing ({held.kind}): {held.reason}"
            yield Finding("warn", f"node {for_terminal(node.name)}", message, _HOLD_REMEDIES[held.kind])


def _check_standing(database: Database, cluster: ClusterSettings) -> Iterator[Finding]:
    """Check that each RUNNING task has a running container, or a node that may still be waited for."""
    from engine.store import standing

    doubt_ms = round((cluster.lease_seconds + max(cluster.grace_bounds)) * 1000) + _IDLE_MS
    with database.read() as c:
        without_progress = standing.tasks_without_progress(c, _IDLE_MS, doubt_ms)
    for task in without_progress:
        name, past = for_terminal(task.name), duration(task.past_ms)
        where = f"on {task.node_name}, which is {task.node_state}"
        if task.node_state.is_gone:
            message = f"{name} has stood for {past} {where}: no node found its containers or started it again"
            remedy = "start a worker on that host, or remove what keeps the other nodes from looking (ferryman nodes)"
        else:
            message = f"{name} has had no running container for {past} {where}"
            remedy = "a large image may still be pulled (ferryman logs); otherwise see that worker's log"
        yield Finding("warn", f"task {task.id[:8]}", message, remedy)


def _print_finding(finding: Finding) -> None:
    status = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status])
    line = f"  {status}  {finding.check:<8}   {for_terminal(finding.message)}"
    click.echo(line, color=screen.allows_escapes())
    if finding.remedy:
        screen.print_line(f"{'':<19}try: {for_terminal(finding.remedy)}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
