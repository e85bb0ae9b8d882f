"""`ferryman logs ID`: the log as it was written; -f follows it."""

from __future__ import annotations

import sys

import click

from engine.cli import screen
from engine.cli.submit import connected
from engine.client import Client
from engine.model.log_gap import is_gap, set_off


@click.command("logs", short_help="Show the log of a task.")
@click.argument("id")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until the task has ended.")
@click.option("--tail", "-n", type=click.IntRange(0), help="Only so many lines of its end.")
@click.option("--timestamps", "-t", is_flag=True, help="Each line with the time at which it was written.")
def logs_command(id: str, following: bool, tail: int | None, timestamps: bool) -> None:
    """Show the log of task ID: its own, or its job's; it may be shortened while unique.

    Piped, the bytes come as the containers wrote them; on a terminal without what could command it.
    """
    client = connected()
    if not following:
        _show(client, id, tail, timestamps)
        return
    try:
        _follow(client, id)
    except KeyboardInterrupt:
        screen.complain(f"\nIt goes on. See it with: ferryman logs {screen.harmless(id)} -f")
        sys.exit(130)


def _show(client: Client, id: str, tail: int | None, timestamps: bool) -> None:
    raw = not sys.stdout.isatty()
    rest = b""
    for piece in client.log_text(id, tail, timestamps):
        if raw:
            sys.stdout.buffer.write(piece)
            continue
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            click.echo(screen.log_line(line.decode("utf-8", "replace")))
    if rest:
        click.echo(screen.log_line(rest.decode("utf-8", "replace")))
    sys.stdout.flush()


def _follow(client: Client, id: str) -> None:
    if not sys.stdout.isatty():
        _follow_raw(client, id)
        return
    rest: dict[int, str] = {}
    for piece in client.log(id):
        for stream, _, text in piece.frames:
            if is_gap(stream, text):
                _end_lines(rest)
            *whole, rest[stream] = (rest.get(stream, "") + text).split("\n")
            for line in whole:
                click.echo(screen.log_line(line))
        sys.stdout.flush()
    _end_lines(rest)


def _end_lines(rest: dict[int, str]) -> None:
    """Show what came without its line's end."""
    for text in rest.values():
        if text:
            click.echo(screen.log_line(text))
    rest.clear()


def _follow_raw(client: Client, id: str) -> None:
    """As `logs` without -f: what the containers wrote, and where it was cut."""
    inside = False
    for piece in client.log(id):
        for stream, _, text in piece.frames:
            if is_gap(stream, text):
                text = set_off(text, inside_line=inside)
            elif stream == 0:
                continue
            sys.stdout.write(text)
            inside = not text.endswith("\n")
        sys.stdout.flush()
