"""What is printed, as pure functions: durations, exit codes, harmless text."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from engine.cli import screen


def test_durations_read_as_people_say_them() -> None:
    shown = [screen.duration(s) for s in (0, 0.314, 0.996, 4.32, 99.9, 125, 3599.6, 12000)]
    assert shown == ["0.00 s", "0.31 s", "1.0 s", "4.3 s", "99.9 s", "2 m 05 s", "1 h 00 m", "3 h 20 m"]


def test_exit_codes_have_words() -> None:
    codes = {
        0: "exit 0",
        3: "exit 3",
        127: "exit 127 (command not found)",
        137: "exit 137 (killed by SIGKILL)",
    }
    assert {code: screen.exit_words(code) for code in codes} == codes
    assert screen.exit_words(None) == ""
    assert screen.exit_words(178) == "exit 178 (killed by signal 50)"


def test_escape_sequences_go_and_other_controls_are_spelled() -> None:
    assert (
        screen.harmless("\x1b[31mred\x1b[0m\x1b]0;title\x07 a\nb\u202ec\x9b1m")
        == "red a\\x0ab\\u202ec\\x9b1m"
    )


@given(st.text())
def test_nothing_harmless_can_command_a_terminal(text: str) -> None:
    assert all(sign.isprintable() for sign in screen.harmless(text))


def test_a_line_that_rewrites_itself_shows_its_last_state() -> None:
    assert screen.log_line("frame=1\rframe=2\r\n") == "frame=2"


def test_seconds_between_times_of_the_api() -> None:
    assert screen.seconds_between("2026-11-25T02:00:00.250Z", "2026-11-25T02:01:00.750Z") == 60.5
    assert screen.seconds_between(None, "2026-11-25T02:01:00.750Z") is None


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys, engine.cli.main;"
        "print([m for m in ('rich', 'docker', 'celery', 'sqlalchemy', 'flask') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
