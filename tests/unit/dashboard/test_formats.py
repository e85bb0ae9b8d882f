"""Formats for people: foreign text on one line, lines of a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.formats import line_text, one_line, plain

DIRECTION_CHANGES = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f\u061c"


def test_text_becomes_one_line_without_control_characters() -> None:
    assert one_line("a\nb\t c", 20) == "a b c"
    assert one_line("x" * 30, 10) == "x" * 9 + "…"
    assert one_line(None) == ""
    assert one_line("\u202egnp.exe") == "\ufffdgnp.exe"


@given(st.text(), st.integers(2, 50))
def test_no_text_is_too_long_or_changes_the_direction_of_the_next(text: str, most: int) -> None:
    short = one_line(text, most)
    assert len(short) <= most and "\n" not in short
    assert not set(plain(text) + short + line_text(text)) & set(DIRECTION_CHANGES + "\x1b\x00\x9b")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain\n", "plain"),
        ("windows\r\n", "windows"),
        ("10 %\r50 %\r100 %\n", "100 %"),
        ("10 %\r50 %\r", "50 %"),
        ("\x1b[1;32mgreen\x1b[0m and \x1b[Kback\n", "green and back"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x1b\\\n", "link"),
        ("tab\tkept\n", "tab\tkept"),
        ("\x00\x07bell\n", "\ufffd\ufffdbell"),
        ("", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_shows_it_in_the_end(written: str, shown: str) -> None:
    assert line_text(written) == shown
