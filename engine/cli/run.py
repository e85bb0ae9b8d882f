"""`ferryman run FILE`: one task in a temporary stand-alone that leaves nothing behind."""

from __future__ import annotations

import sys

import click

from engine.cli import files, problem_report, screen
from engine.cli.job_stream import follow, last_task
from engine.cli.live_view import watch
from engine.cli.submit import exit_status, submit_file
from engine.cli.validate import check_file
from engine.client import Client, Json
from engine.jobspec.problems import Invalid
from engine.settings import Settings
from engine.standalone.ephemeral import standalone


@click.command("run")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the ended task as JSON.")
def run_command(file: str, as_json: bool) -> None:
    """Run the task in FILE (- for standard input) on this host, show it, and leave nothing behind.

    Exits 0 when the task completed, 1 when it did not, 2 when the file has problems.
    """
    text = files.read(file)
    settings = Settings.from_env()
    try:
        queue = check_file(file, text, settings).queue or settings.broker.default_queue
    except Invalid as exc:
        problem_report.print_problems(files.display_name(file), text, exc.problems)
        sys.exit(2)
    try:
        task = _run(file, text, queue, as_json)
    except KeyboardInterrupt:
        screen.print_error("\nStopped. The container, worker, API and broker have been removed.")
        sys.exit(130)
    if as_json:
        screen.print_json(task)
    sys.exit(exit_status(task))


def _run(file: str, text: bytes, queue: str, is_silent: bool) -> Json:
    with standalone(sys.executable, [f"{queue}:1"]) as running:
        client = Client(running.url)
        task = submit_file(client, file, text)
        updates = follow(client, task)
        return last_task(updates, task) if is_silent else watch(updates)
