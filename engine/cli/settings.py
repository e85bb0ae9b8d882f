"""`ferryman settings`: the settings in effect in this shell, in groups, with their origins."""

from __future__ import annotations

import difflib
import os

import click

from engine.cli import screen
from engine.settings import GROUPS, OPTIONS, Option, Settings, read_settings, without_password
from engine.wording.text import for_terminal

#: Variables of Ferryman that are not settings: a container sees them.
OF_CONTAINERS = {
    f"FERRYMAN_{name}" for name in ("JOB_ID", "TASK_ID", "ATTEMPT", "RETRY_LIMIT", "OUTPUT", "PROGRESS")
}


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
def settings_command(as_json: bool) -> None:
    """Show each setting with its value, the origin of the value, and its meaning. Passwords are masked."""
    settings, origins = read_settings()
    if as_json:
        shown = [_as_json(option, settings, origins) for option in OPTIONS.values()]
        screen.print_json({"settings": shown, "unknown": _unknown()})
        return
    for group, holder in GROUPS.items():
        screen.print_line(holder.__doc__, "strong")
        for option in OPTIONS.values():
            if option.group == group:
                _say(option, settings, origins.get(option.name))
        screen.print_line("")
    for variable in _unknown():
        similar = difflib.get_close_matches(variable, [option.variable for option in OPTIONS.values()], 1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        screen.print_line(f"{for_terminal(variable)} is set, but is not a setting{hint}", "warn")


def _say(option: Option, settings: Settings, origin: str | None) -> None:
    value = for_terminal(_text(option, settings))
    # The line begins with the variable already.
    source = "the environment" if origin == option.variable else origin
    note = f"  (from {source})" if source else ""
    screen.print_line(f"  {option.variable}={value}{note}", "good" if origin else None)
    screen.print_line(f"      {option.help}", "faint")


def _as_json(option: Option, settings: Settings, origins: dict[str, str]) -> dict[str, str]:
    about = {"group": option.group, "name": option.name, "variable": option.variable, "help": option.help}
    return about | {"value": _text(option, settings), "origin": origins.get(option.name, "default")}


def _text(option: Option, settings: Settings) -> str:
    text = option.write(settings.value(option))
    if option.hidden and text:
        return "***"
    return without_password(text)


def _unknown() -> list[str]:
    known = {option.variable for option in OPTIONS.values()} | OF_CONTAINERS
    return sorted(name for name in os.environ if name.startswith("FERRYMAN_") and name not in known)
