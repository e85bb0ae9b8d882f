"""`ferryman validate FILE`: the checks of the API, here, without sending anything."""

from __future__ import annotations

import sys

import click

from engine.cli import files, problem_report, screen
from engine.jobspec import host_access, schema
from engine.jobspec.document import Media
from engine.jobspec.problems import Invalid
from engine.jobspec.task import TaskSpec
from engine.settings import Settings


@click.command("validate", short_help="Check a file.")
@click.argument("file", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def validate_command(file: tuple[str, ...], as_json: bool) -> None:
    """Check each FILE as the API would; exit 2 when one has a problem.

    The doors (FERRYMAN_BIND_SOURCES, FERRYMAN_NETWORKS) are those of this shell's environment.
    """
    settings = Settings.from_env()
    wrong = False
    report: dict[str, object] = {}
    for name in file:
        text = files.read(name)
        try:
            checked(name, text, settings)
            report[name] = []
            if not as_json:
                screen.say(f"{files.title(name)}: ok")
        except Invalid as exc:
            wrong = True
            report[name] = exc.as_json()
            if not as_json:
                problem_report.say(files.title(name), text, of_invalid(exc))
    if as_json:
        screen.show_json(report)
    sys.exit(2 if wrong else 0)


def checked(name: str, text: bytes, settings: Settings) -> TaskSpec:
    """The task of a file's text. Raises Invalid with every problem."""
    allowed = host_access.host_access_from(
        settings.runtime.bind_sources,
        settings.runtime.networks,
        settings.data_dir,
        settings.runtime.docker_host,
    )
    media: Media = "json" if files.media(name).endswith("json") else "yaml"
    return schema.check(text, media, allowed, settings.api.body_bytes)


def of_invalid(exc: Invalid) -> list[problem_report.ReportedProblem]:
    """Its problems for the screen."""
    return [problem_report.ReportedProblem(p.line, p.column, p.path, p.sentence) for p in exc.problems]
