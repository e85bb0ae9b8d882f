"""The command `ferryman`. Subcommands are loaded when they are called, so that --help is fast."""

from __future__ import annotations

import importlib
import os
import sys

import click

from engine import __version__
from engine.errors import FerrymanError, SettingsError

#: name -> (module of this package, summary in --help).
COMMANDS = {
    "standalone": ("processes", "Run broker, API, dashboard and workers on this host."),
    "run": ("run", "Run one file in a temporary stand-alone that leaves nothing behind."),
    "submit": ("submit", "Submit a task; --follow shows it until it ends."),
    "logs": ("logs", "Show the log of a task; -f follows it."),
    "ls": ("jobs", "List jobs, newest first."),
    "show": ("jobs", "Show a task or job with its links and attempts."),
    "cancel": ("jobs", "Cancel a task or job."),
    "validate": ("validate", "Check files as the API would, without submitting them."),
    "nodes": ("nodes", "List the workers."),
    "drain": ("nodes", "Let a worker finish its tasks and leave."),
    "doctor": ("doctor", "Check Docker, broker, database and queues, with a remedy for each fault."),
    "settings": ("settings", "Show the settings in effect, each with its origin."),
    "api": ("processes", "Run only the API and its dashboard."),
    "db": ("db", "Create or upgrade the database: db upgrade."),
}


class Commands(click.Group):
    """Group of the subcommands; their modules are imported only when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of the command and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"engine.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command as click does, but suggest the nearest name for an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            if args[0] == "worker":
                ctx.fail(
                    "unknown command 'worker'; start workers with: celery -A engine worker -Q QUEUE -c SLOTS"
                )
            ctx.fail(f"unknown command {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferryman", message="%(prog)s %(version)s")
def ferryman() -> None:
    """Run tasks in containers: submit them in YAML, Celery workers run them in Docker, no crash loses them.

    Start workers with Celery: celery -A engine worker -Q QUEUE -c SLOTS
    """


def main() -> None:
    """Run the command; print Ferryman's own errors as one sentence, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without UTF-8 shows ? for characters it lacks; the command must not fail.
            stream.reconfigure(errors="replace")
    try:
        sys.exit(ferryman(standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except BrokenPipeError:
        # The reader has closed the pipe (| head): not an error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except FerrymanError as exc:
        click.echo(f"ferryman: {exc}", err=True)
        sys.exit(2 if isinstance(exc, SettingsError) else 1)


if __name__ == "__main__":
    main()
