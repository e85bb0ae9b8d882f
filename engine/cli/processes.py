"""`ferryman standalone` and `ferryman api`: the servers. Workers are started with Celery's own command."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import click

from engine.cli import screen
from engine.errors import FerrymanError
from engine.settings import Settings, refuse_outside
from engine.standalone import ports, supervisor
from engine.telemetry.patience import exit_status

_QUEUE_OPTION = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):(\d{1,4})")
_MOST_SLOTS = 1000


def _parse_queues(
    ctx: click.Context, param: click.Parameter, options: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    queues: dict[str, int] = {}
    for text in options:
        match = _QUEUE_OPTION.fullmatch(text)
        if match is None or not 1 <= int(match[2]) <= _MOST_SLOTS:
            raise click.BadParameter(
                f"{text!r} is not NAME:SLOTS; write for example transcoding:3 (1 to {_MOST_SLOTS} slots)"
            )
        if match[1] in queues:
            raise click.BadParameter(f"queue {match[1]!r} is given twice; give it once")
        queues[match[1]] = int(match[2])
    return tuple(queues.items())


@click.command("standalone")
@click.option(
    "--queue", "queues", multiple=True, default=("default:10",), show_default=True, callback=_parse_queues,
    metavar="NAME:SLOTS", help="Queue, and how many of its tasks run at once. Repeat for more queues.",
)  # fmt: skip
@click.option("--host", help="Address of the API; loopback only.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the API; 0 takes a free one.  [default: 3000]"
)
@click.option(
    "--data-dir",
    help="Directory for the database, the broker file and work files.  [default: ~/.local/share/ferryman]",
)
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="Show all output of broker, API and workers, not only warnings and errors.",
)
@click.option(
    "--no-token",
    is_flag=True,
    default=None,
    help="Let every account of this host use the API without a token.",
)
@click.option("--ephemeral", is_flag=True, hidden=True, help="Remove all containers and volumes at the end.")
def standalone_command(
    queues: tuple[tuple[str, int], ...], verbose: bool, ephemeral: bool, **options: Any
) -> None:
    """Run a broker, the API with its dashboard, and a worker for each queue, until Ctrl-C."""
    with server_exit_status():
        settings = Settings.from_env(**options)
        sys.exit(supervisor.run(supervisor.Plan(settings, queues, verbose, ephemeral), _print))


@contextlib.contextmanager
def server_exit_status() -> Iterator[None]:
    """End with the status that supervisors of servers know: 78 for a wrong setting, 75 for a server that is late."""
    try:
        yield
    except FerrymanError as exc:
        screen.print_error(f"ferryman: {exc}")
        sys.exit(exit_status(exc))


def _print(line: str) -> None:
    style = "strong" if line.startswith(("Ferryman ", "Ready ")) else None
    screen.print_line(line, style)
    sys.stdout.flush()


@click.command("api")
@click.option("--host", help="Address of the API; loopback only.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the API.  [default: 3000]")
@click.option(
    "--no-token",
    is_flag=True,
    default=None,
    help="Let every account of this host use the API without a token.",
)
def api_command(host: str | None, port: int | None, no_token: bool | None) -> None:
    """Run the API and its dashboard in gunicorn on the configured database, until Ctrl-C."""
    with server_exit_status():
        settings = Settings.from_env(host=host, port=port, no_token=no_token)
        refuse_outside(settings.api.host)
        server = ports.listen(settings.api.host, settings.api.port)
    server.set_inheritable(True)
    screen.print_line(f"Ferryman API  http://{settings.api.address}")
    sys.stdout.flush()
    words = [sys.executable, "-P", "-m", "engine.standalone.serve"]
    words += ["--config", "python:engine.standalone.gunicorn_conf"]
    words += ["--bind", f"fd://{server.fileno()}"]
    # Only the options: the server reads the rest itself, and follows a stand-alone to a new broker.
    options = {"FERRYMAN_HOST": settings.api.host, "FERRYMAN_PORT": str(settings.api.port)}
    options["FERRYMAN_NO_TOKEN"] = "1" if settings.api.no_token else "0"
    try:
        os.execve(sys.executable, words, {**os.environ, **options})
    except OSError as exc:
        raise FerrymanError(f"cannot run gunicorn: {exc.strerror}") from exc
