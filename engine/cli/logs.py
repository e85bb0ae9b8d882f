"""`ferryman logs ID`: the log of a task, or of one of its links or attempts; -f follows it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from engine.cli import screen
from engine.cli.ids import Id
from engine.cli.job_stream import LineBuffer, LogLine, links
from engine.cli.submit import api_client
from engine.client import Client, Json, LogPart
from engine.model.log_text import LogText
from engine.wording.links import link_title
from engine.wording.text import for_terminal


@click.command("logs")
@click.argument("id", type=Id())
@click.option("--follow", "-f", "following", is_flag=True, help="Follow the log until the task has ended.")
@click.option("--tail", "-n", type=click.IntRange(0), metavar="N", help="Show only the last N lines.")
@click.option("--timestamps", "-t", is_flag=True, help="Print the time before each line.")
@click.option(
    "--link", "-l", metavar="LINK", help="Show only this link: its name, main, or its index from 0."
)
@click.option("--attempt", "-a", type=click.IntRange(1), metavar="N", help="Show only the N-th attempt.")
def logs_command(
    id: str, following: bool, tail: int | None, timestamps: bool, link: str | None, attempt: int | None
) -> None:
    """Show the log of a task. ID is the id of the task or its job, or a unique beginning of it.

    Piped output has the bytes as the containers wrote them; a terminal gets no control characters.
    """
    client = api_client()
    part = LogPart(tail, attempt, None if link is None else _link_index(client.task(id), link))
    if not following:
        _show(client, id, part, timestamps)
        return
    try:
        _follow(client, id, part, timestamps)
    except KeyboardInterrupt:
        screen.print_error(f"\nThe task goes on. Follow it with: ferryman logs {for_terminal(id)} -f")
        sys.exit(130)


def _link_index(task: Json, word: str) -> int:
    """Return the index of the link with this name, kind or index. Exits with status 2 unless there is exactly one."""
    chain = links(task)
    indexes = [
        link["index"] for link in chain if word in (str(link["index"]), link.get("name"), link["kind"])
    ]
    if len(set(indexes)) == 1:
        return int(indexes[0])
    titles = ", ".join(for_terminal(link_title(x["kind"], x.get("name"), x["index"])) for x in chain)
    fault = "several links are" if indexes else "no link is"
    screen.exit_with_error(
        f"{fault} called {for_terminal(word)!r}: the links of this task are {titles}; use the name or the number",
        2,
    )


def _show(client: Client, id: str, part: LogPart, timestamps: bool) -> None:
    raw = not sys.stdout.isatty()
    rest = b""
    for chunk in client.log_text(id, part, timestamps=timestamps):
        if raw:
            sys.stdout.buffer.write(chunk)
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            click.echo(screen.log_line(line.decode("utf-8", "replace")))
    if rest:
        click.echo(screen.log_line(rest.decode("utf-8", "replace")))
    sys.stdout.flush()


def _follow(client: Client, id: str, part: LogPart, timestamps: bool) -> None:
    if not sys.stdout.isatty():
        # As `logs` without -f writes it.
        log_text = LogText(with_stamps=timestamps)
        for chunk in client.log(id, part):
            sys.stdout.write(log_text.add((chunk.attempt, chunk.origin, chunk.link), chunk.frames))
            sys.stdout.flush()
        return
    lines = LineBuffer()
    for chunk in client.log(id, part):
        _print_lines(lines.add(chunk), timestamps)
    _print_lines(lines.flush(), timestamps)


def _print_lines(lines: Iterable[LogLine], timestamps: bool) -> None:
    for line in lines:
        stamp = f"{line.stamp} " if timestamps and line.stamp else ""
        click.echo(stamp + screen.log_line(line.text))
    sys.stdout.flush()
