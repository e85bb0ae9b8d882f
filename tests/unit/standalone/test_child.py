"""The supervisor's view of a child's lines."""

from __future__ import annotations

import pytest

from engine.standalone.child import _FRONT, _harmless


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
def test_the_childs_own_time_is_cut(line: str, shown: str) -> None:
    assert _FRONT.sub("", line, count=1) == shown


def test_a_line_cannot_command_the_terminal() -> None:
    assert _harmless("a\x1b[2Jb\tc") == "a\\x1b[2Jb\tc"
    assert len(_harmless("x" * 10_000)) == 2000
