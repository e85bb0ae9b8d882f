"""`ferryman submit FILE`: hand in a task, and with --follow watch it to its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from engine.cli import files, problem_report, screen
from engine.cli.job_stream import follow
from engine.cli.live_view import header, watch
from engine.client import ApiError, Client, Json
from engine.settings import Settings


def connected() -> Client:
    """A client of the API that the environment, or the running stand-alone, names."""
    return Client(Settings.from_env().api.api_url)


def hand_in(client: Client, name: str, text: bytes) -> Json:
    """Submit a file's text; its mistakes are printed as `ferryman validate` does, and end it with status 2."""
    try:
        return client.submit(text, files.media(name))
    except ApiError as exc:
        if found := problem_report.of_api(exc):
            problem_report.say(files.title(name), text, found)
            sys.exit(2)
        raise


def watch_to_end(client: Client, task: Json) -> Json:
    """Follow on the screen; Ctrl-C says how to go on and ends with 130, the task goes on."""
    try:
        return watch(follow(client, task))
    except KeyboardInterrupt:
        screen.complain(f"\nIt goes on. See it with: ferryman logs {screen.short(task['id'])} -f")
        sys.exit(130)


def status_of(task: Json) -> int:
    """The exit status for an ended task: 0 when it completed."""
    return 0 if task["state"] == "COMPLETED" else 1


@click.command("submit", short_help="Hand in a task.")
@click.argument("file")
@click.option(
    "--follow", "-f", "following", is_flag=True, help="Watch it to its end; exit 1 unless it completes."
)
@click.option("--json", "as_json", is_flag=True, help="Print the task as JSON (with --follow: as it ended).")
@click.option("--quiet", "-q", is_flag=True, help="Print its id only.")
def submit_command(file: str, following: bool, as_json: bool, quiet: bool) -> None:
    """Hand in the task of FILE (- for standard input)."""
    client, text = connected(), files.read(file)
    task = hand_in(client, file, text)
    if following and (as_json or quiet):
        task = _silently(follow(client, task), task)
    if as_json:
        screen.show_json(task)
    elif quiet:
        click.echo(task["id"])
    elif not following:
        screen.say(header(task))
        screen.say(f"{task['id']}  {task['state']}")
        screen.say(f"ferryman logs {screen.short(task['id'])} -f    follows it", "faint")
    if following:
        sys.exit(status_of(task if as_json or quiet else watch_to_end(client, task)))


def _silently(updates: Iterator[object], task: Json) -> Json:
    for update in updates:
        task = getattr(update, "task", task)
    return task
