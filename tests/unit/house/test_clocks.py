"""Uses of the wall clock: decisions use the database's clock, or the monotonic clock of one process."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: Calls that read this host's wall clock.
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
#: Files that may read it, each with its reason. None of them decides about a task or a node.
ALLOWED = {
    "engine/cli/live_view.py",  # seconds that a link has run, for a screen
    "engine/runtime/docker/probes.py",  # age of abandoned probes, two minutes by Docker's clock
    "engine/standalone/broker.py",  # a name for a broken file
    "engine/standalone/datadir.py",  # start time of the stand-alone, for people
}


def _wall_clocks(text: str) -> set[str]:
    calls = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            calls |= {call for call in WALL if name == call or name.endswith(f".{call}")}
    return calls


def test_only_these_files_read_the_wall_clock() -> None:
    code = [path for room in ("engine", "api") for path in (ROOT / room).rglob("*.py")]
    reading = {str(path.relative_to(ROOT)) for path in code if _wall_clocks(path.read_text())}
    assert reading == ALLOWED


def test_a_reading_of_the_wall_clock_is_found() -> None:
    assert _wall_clocks("import time\nx = time.time() - 3") == {"time.time"}
    assert _wall_clocks("import datetime\ndatetime.datetime.now(UTC)") == {"datetime.now"}
    assert not _wall_clocks("import time\ntime.monotonic()")


def test_no_module_renames_what_reads_the_wall_clock() -> None:
    for path in (path for room in ("engine", "api") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not {"time", "time_ns"} & {name.name for name in node.names}, path
            if isinstance(node, ast.Import):
                assert not [
                    name for name in node.names if name.name in ("time", "datetime") and name.asname
                ], path
