"""`ferryman submit FILE`: submit a task; with --follow, show it until it ends."""

from __future__ import annotations

import sys

import click

from engine.cli import files, problem_report, screen
from engine.cli.job_stream import follow, last_task
from engine.cli.live_view import header, waiting_line, watch
from engine.client import ApiError, Client, Json
from engine.settings import Settings


def api_client() -> Client:
    """Return a client of the API that the environment or the running stand-alone names."""
    api = Settings.from_env().api
    return Client(api.api_url, token=api.api_token)


def submit_file(client: Client, name: str, text: bytes) -> Json:
    """Submit the text of a file. Prints problems as `ferryman validate` does and exits with status 2."""
    try:
        return client.submit(text, files.media_type(name))
    except ApiError as exc:
        if problems := problem_report.from_api_error(exc):
            problem_report.print_problems(files.display_name(name), text, problems)
            sys.exit(2)
        raise


def watch_to_end(client: Client, task: Json) -> Json:
    """Show the task until it ends; Ctrl-C exits with 130 and leaves the task running."""
    try:
        return watch(follow(client, task))
    except KeyboardInterrupt:
        screen.print_error(
            f"\nThe task goes on. Follow it with: ferryman logs {screen.short_id(task['id'])} -f"
        )
        sys.exit(130)


def exit_status(task: Json) -> int:
    """Return the exit status for an ended task: 0 for COMPLETED, otherwise 1."""
    return 0 if task["state"] == "COMPLETED" else 1


@click.command("submit")
@click.argument("file")
@click.option(
    "--follow",
    "-f",
    "following",
    is_flag=True,
    help="Show the task until it ends; exit 1 unless it completes.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the task as JSON; with --follow, the ended task."
)
@click.option("--quiet", "-q", is_flag=True, help="Print only the task id.")
def submit_command(file: str, following: bool, as_json: bool, quiet: bool) -> None:
    """Submit the task in FILE (- for standard input)."""
    client, text = api_client(), files.read(file)
    task = submit_file(client, file, text)
    if following and (as_json or quiet):
        task = last_task(follow(client, task), task)
    if as_json:
        screen.print_json(task)
    elif quiet:
        click.echo(task["id"])
    elif not following:
        screen.print_line(header(task))
        screen.print_line(f"{task['id']}  {task['state']}  job {screen.short_id(task['jobId'])}")
        if waiting := waiting_line(client.task(task["id"])):
            screen.print_line(waiting, "warn")
        screen.print_line(f"follow it with: ferryman logs {screen.short_id(task['id'])} -f", "faint")
    if following:
        sys.exit(exit_status(task if as_json or quiet else watch_to_end(client, task)))
