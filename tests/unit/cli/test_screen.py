"""Output of the command line: lines of a log, and the time that `--help` takes."""

from __future__ import annotations

import subprocess
import sys

from engine.cli import screen


def test_a_line_that_rewrites_itself_shows_its_last_state() -> None:
    assert screen.log_line("frame=1\rframe=2\r\n") == "frame=2"


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys, engine.cli.main;"
        "print([m for m in ('rich', 'docker', 'celery', 'sqlalchemy', 'flask') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
