"""`ferryman standalone` and `ferryman api`: the servers. Workers are plain Celery and need no command."""

from __future__ import annotations

import os
import re
import sys

import click

from engine.cli import screen
from engine.errors import DataDirInUse, FerrymanError
from engine.settings import Settings, refuse_outside
from engine.standalone import ports, supervisor

_QUEUE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):(\d{1,4})")
_MOST_SLOTS = 1000


def _queues(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for text in given:
        match = _QUEUE.fullmatch(text)
        if match is None or not 1 <= int(match[2]) <= _MOST_SLOTS:
            raise click.BadParameter(
                f"{text!r}: write name:slots, as in transcoding:3 (1 to {_MOST_SLOTS} slots)"
            )
        if match[1] in found:
            raise click.BadParameter(f"{match[1]!r} is given twice")
        found[match[1]] = int(match[2])
    return tuple(found.items())


@click.command("standalone", short_help="Run everything on this host.")
@click.option(
    "--queue", "queues", multiple=True, default=("default:10",), show_default=True, callback=_queues,
    metavar="NAME:SLOTS", help="A queue and how many of its tasks run at once; may be given again.",
)  # fmt: skip
@click.option("--host", help="Address that the API binds to; loopback only.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the API, 0: a free one.  [default: 3000]"
)
@click.option(
    "--data-dir", help="Where rows, broker file and work files live.  [default: ~/.local/share/ferryman]"
)
@click.option(
    "--verbose", "-v", is_flag=True, help="Every line of the children, not only warnings and errors."
)
@click.option("--ephemeral", is_flag=True, hidden=True, help="Remove all containers and volumes at the end.")
def standalone_command(
    queues: tuple[tuple[str, int], ...], host: str | None, port: int | None, data_dir: str | None,
    verbose: bool, ephemeral: bool,
) -> None:  # fmt: skip
    """Run broker, API with dashboard, and a worker for each queue, until Ctrl-C."""
    settings = Settings.from_env(host=host, port=port, data_dir=data_dir)
    try:
        sys.exit(supervisor.run(supervisor.Plan(settings, queues, verbose, ephemeral), _out))
    except (DataDirInUse, ports.PortTaken) as exc:
        screen.fail(str(exc))


def _out(line: str) -> None:
    style = "strong" if line.startswith(("Ferryman ", "Ready ")) else None
    screen.say(line, style)
    sys.stdout.flush()


@click.command("api", short_help="Run the API alone.")
@click.option("--host", help="Address to bind to; loopback only.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to bind to.  [default: 3000]")
def api_command(host: str | None, port: int | None) -> None:
    """Run the API and its dashboard on the configured database (gunicorn, until Ctrl-C)."""
    settings = Settings.from_env(host=host, port=port)
    refuse_outside(settings.api.host)
    try:
        ports.listen(settings.api.host, settings.api.port).close()
    except ports.PortTaken as exc:
        screen.fail(str(exc))
    screen.say(f"Ferryman API  http://{settings.api.host}:{settings.api.port}")
    sys.stdout.flush()
    words = [sys.executable, "-P", "-m", "gunicorn", "--config", "python:engine.standalone.gunicorn_conf"]
    try:
        os.execve(sys.executable, words, {**os.environ, **settings.environment()})
    except OSError as exc:
        raise FerrymanError(f"gunicorn cannot be run: {exc.strerror}") from exc
