"""Child processes: their lines as the supervisor prints them, and which ones are restarted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.standalone.child import _PREFIX, Child, Command
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[2026-11-25 02:26:57 +0000] [639] [ERROR] Worker exited", "Worker exited"),
        ("[2026-11-25 02:26:57,123: WARNING/MainProcess] lost", "lost"),
        ("13259:M 25 Nov 2026 01:58:59.363 # Short read", "Short read"),
        ("2026-11-25T02:00:00.123Z ERROR ferryman: no", "ERROR ferryman: no"),
        ("  File 'x', line 3", "  File 'x', line 3"),
    ],
)
def test_the_time_that_a_child_prints_is_removed(line: str, shown: str) -> None:
    assert _PREFIX.sub("", line, count=1) == shown


def test_a_line_cannot_control_the_terminal(tmp_path: Path) -> None:
    lines: list[str] = []
    argv = (sys.executable, "-c", r"print('a\x1b[2Jb\tc'); print('x' * 10_000)")
    command = Command("x", argv, dict(os.environ), tmp_path)
    child = Child(command, lambda _, line: lines.append(line), verbose=True)
    child.start()
    child.wait_or_kill(10)
    assert lines == ["a\\x1b[2Jb\tc", "x" * 1999 + "…"]


@pytest.mark.parametrize(("may_leave", "code", "restarts"), [(True, 0, 0), (True, 3, 1), (False, 0, 1)])
def test_a_child_that_left_in_order_stays_down_and_prints_that_once(
    tmp_path: Path, may_leave: bool, code: int, restarts: int
) -> None:
    lines: list[str] = []
    argv = (sys.executable, "-c", f"raise SystemExit({code})")
    command = Command("worker/x", argv, dict(os.environ), tmp_path, may_leave=may_leave)
    child = Child(command, lambda _, line: lines.append(line))
    child.start()
    wait_until(lambda: child.pid is None, 30)
    child.restart_if_dead()
    assert child.restarts == restarts
    assert any("stays down" in line for line in lines) is (restarts == 0)
    if not restarts:
        child.restart_if_dead()
        assert len(lines) == 1
