"""No two clocks are compared: what decides takes the database's clock, or one process's own monotonic one."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: Calls that read this host's wall clock.
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
#: The files that may, with what for. None of them decides about a task or a node.
ALLOWED = {
    "engine/cli/live_view.py",  # seconds that a link has run, on a screen
    "engine/runtime/docker/shared_files.py",  # probes that are left over, two minutes old by Docker's clock
    "engine/standalone/broker.py",  # a name for a broken file
    "engine/standalone/datadir.py",  # since when it runs, for people
}


def _asks(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found |= {one for one in WALL if name == one or name.endswith(f".{one}")}
    return found


def test_only_these_files_read_the_hosts_wall_clock() -> None:
    code = [path for room in ("engine", "api") for path in (ROOT / room).rglob("*.py")]
    reading = {str(path.relative_to(ROOT)) for path in code if _asks(path.read_text())}
    assert reading == ALLOWED


def test_a_reading_of_the_wall_clock_is_found() -> None:
    assert _asks("import time\nx = time.time() - 3") == {"time.time"}
    assert _asks("import datetime\ndatetime.datetime.now(UTC)") == {"datetime.now"}
    assert not _asks("import time\ntime.monotonic()")


def test_nobody_renames_the_modules_that_know_the_wall_clock() -> None:
    for path in (path for room in ("engine", "api") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not {"time", "time_ns"} & {name.name for name in node.names}, path
            if isinstance(node, ast.Import):
                assert not [one for one in node.names if one.name in ("time", "datetime") and one.asname], (
                    path
                )
