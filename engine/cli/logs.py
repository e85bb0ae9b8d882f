"""`ferryman logs ID`: the log of a task; -f follows it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from engine.cli import screen
from engine.cli.job_stream import LineBuffer, LogLine
from engine.cli.submit import api_client
from engine.client import Client
from engine.model.log_gap import as_own_line, is_gap
from engine.wording.text import for_terminal


@click.command("logs")
@click.argument("id")
@click.option("--follow", "-f", "following", is_flag=True, help="Follow the log until the task has ended.")
@click.option("--tail", "-n", type=click.IntRange(0), metavar="N", help="Show only the last N lines.")
@click.option("--timestamps", "-t", is_flag=True, help="Print the time before each line.")
def logs_command(id: str, following: bool, tail: int | None, timestamps: bool) -> None:
    """Show the log of a task. ID is the id of the task or its job, or a unique beginning of it.

    Piped output has the bytes as the containers wrote them; a terminal gets no control characters.
    """
    client = api_client()
    if not following:
        _show(client, id, tail, timestamps)
        return
    try:
        _follow(client, id)
    except KeyboardInterrupt:
        screen.print_error(f"\nThe task goes on. Follow it with: ferryman logs {for_terminal(id)} -f")
        sys.exit(130)


def _show(client: Client, id: str, tail: int | None, timestamps: bool) -> None:
    raw = not sys.stdout.isatty()
    rest = b""
    for chunk in client.log_text(id, tail, timestamps):
        if raw:
            sys.stdout.buffer.write(chunk)
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            click.echo(screen.log_line(line.decode("utf-8", "replace")))
    if rest:
        click.echo(screen.log_line(rest.decode("utf-8", "replace")))
    sys.stdout.flush()


def _follow(client: Client, id: str) -> None:
    if not sys.stdout.isatty():
        _follow_raw(client, id)
        return
    lines = LineBuffer()
    for chunk in client.log(id):
        _print_lines(lines.add(chunk))
    _print_lines(lines.flush())


def _print_lines(lines: Iterable[LogLine]) -> None:
    for line in lines:
        click.echo(screen.log_line(line.text))
    sys.stdout.flush()


def _follow_raw(client: Client, id: str) -> None:
    """Write what `logs` without -f writes: the containers' output, and the notes on log gaps."""
    inside = False
    for chunk in client.log(id):
        for stream, _, text in chunk.frames:
            if is_gap(stream, text):
                text = as_own_line(text, inside_line=inside)
            elif stream == 0:
                continue
            sys.stdout.write(text)
            inside = not text.endswith("\n")
        sys.stdout.flush()
