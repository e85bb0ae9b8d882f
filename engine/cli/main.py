"""The command `ferryman`: each subcommand is loaded when it is called, so that --help is quick."""

from __future__ import annotations

import importlib
import os
import sys

import click

from engine import __version__
from engine.errors import FerrymanError, SettingsError

#: name -> (module of this package, what --help says).
COMMANDS = {
    "standalone": ("processes", "Run everything on this host: broker, API, dashboard, workers."),
    "run": ("run", "Run one file in a stand-alone of its own that leaves nothing behind."),
    "submit": ("submit", "Hand in a task; --follow watches it to its end."),
    "logs": ("logs", "Show the log of a task; -f follows it."),
    "ls": ("jobs", "List jobs, newest first."),
    "show": ("jobs", "Show one task or job with its links and attempts."),
    "cancel": ("jobs", "Cancel a task or job."),
    "validate": ("validate", "Check a file as the API would, without sending it."),
    "nodes": ("nodes", "List the workers."),
    "drain": ("nodes", "Have a worker finish what it has and leave."),
    "doctor": ("doctor", "Check Docker, broker, database and queues, each with its remedy."),
    "settings": ("settings", "Show the settings in effect, each with its origin."),
    "api": ("processes", "Run the API alone."),
    "db": ("db", "Prepare the database: db upgrade."),
}


class Commands(click.Group):
    """The subcommands by name; their help stands here, their code in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the module that has it."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"engine.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without loading any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a mistyped one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            if args[0] == "worker":
                ctx.fail("workers are plain Celery: celery -A engine worker -Q QUEUE -c SLOTS")
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferryman", message="%(prog)s %(version)s")
def ferryman() -> None:
    """Carry containers: POST a task in YAML, Celery workers run it in Docker, and no crash loses it.

    Workers are plain Celery: celery -A engine worker -Q QUEUE -c SLOTS
    """


def main() -> None:
    """The entry point: an error of ours is a sentence, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without UTF-8 shows ? for what it lacks, and never ends a command.
            stream.reconfigure(errors="replace")
    try:
        sys.exit(ferryman(standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except BrokenPipeError:
        # The reader went away (| head): no error of ours, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except SettingsError as exc:
        click.echo(f"ferryman: {exc}", err=True)
        sys.exit(2)
    except FerrymanError as exc:
        click.echo(f"ferryman: {exc}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
