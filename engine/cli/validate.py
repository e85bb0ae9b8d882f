"""`ferryman validate FILE`: the checks of the API, made here without submitting."""

from __future__ import annotations

import sys

import click

from engine.cli import files, problem_report, screen
from engine.jobspec import host_access, schema
from engine.jobspec.document import Media
from engine.jobspec.problems import Invalid
from engine.jobspec.task import TaskSpec
from engine.settings import Settings


@click.command("validate")
@click.argument("file", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def validate_command(file: tuple[str, ...], as_json: bool) -> None:
    """Check each FILE as the API would; exit 2 when one has a problem.

    Host access (FERRYMAN_BIND_SOURCES, FERRYMAN_NETWORKS) is read from this shell's environment.
    """
    settings = Settings.from_env()
    has_problems = False
    report: dict[str, object] = {}
    for name in file:
        text = files.read(name)
        try:
            check_file(name, text, settings)
            report[name] = []
            if not as_json:
                screen.print_line(f"{files.display_name(name)}: ok")
        except Invalid as exc:
            has_problems = True
            report[name] = exc.as_json()
            if not as_json:
                problem_report.print_problems(files.display_name(name), text, exc.problems)
    if as_json:
        screen.print_json(report)
    sys.exit(2 if has_problems else 0)


def check_file(name: str, text: bytes, settings: Settings) -> TaskSpec:
    """Return the task in the text of a file. Raises Invalid with all problems."""
    allowed = host_access.host_access_of(settings.runtime, settings.private_places)
    media: Media = "json" if files.media_type(name).endswith("json") else "yaml"
    return schema.check(text, media, allowed, settings.api.body_bytes)
