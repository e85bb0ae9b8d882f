"""`ferryman run FILE`: a stand-alone of its own for one task, and nothing left behind."""

from __future__ import annotations

import sys

import click

from engine.cli import files, problem_report, screen
from engine.cli.job_stream import follow
from engine.cli.live_view import watch
from engine.cli.submit import hand_in, status_of
from engine.cli.validate import checked, of_invalid
from engine.client import Client, Json
from engine.jobspec.problems import Invalid
from engine.settings import Settings
from engine.standalone.ephemeral import standalone


@click.command("run", short_help="Run one file and leave nothing behind.")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the task as it ended as JSON.")
def run_command(file: str, as_json: bool) -> None:
    """Run the task of FILE (- for standard input) here, follow it, and leave nothing behind.

    Exit 0 when it completed, 1 when it did not, 2 when the file has mistakes.
    """
    text = files.read(file)
    settings = Settings.from_env()
    try:
        queue = checked(file, text, settings).queue or settings.broker.default_queue
    except Invalid as exc:
        problem_report.say(files.title(file), text, of_invalid(exc))
        sys.exit(2)
    try:
        task = _run(file, text, queue, as_json)
    except KeyboardInterrupt:
        screen.complain("\nStopped: its container, worker, API and broker are gone.")
        sys.exit(130)
    if as_json:
        screen.show_json(task)
    sys.exit(status_of(task))


def _run(file: str, text: bytes, queue: str, silent: bool) -> Json:
    with standalone(sys.executable, [f"{queue}:1"]) as running:
        client = Client(running.url)
        task = hand_in(client, file, text)
        if not silent:
            return watch(follow(client, task))
        for update in follow(client, task):
            task = getattr(update, "task", task)
        return task
