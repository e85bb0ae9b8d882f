"""Values as people read them: texts of others on one line, lines of a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.formats import cut, line_text, plain

TURNING = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f\u061c"


def test_a_text_is_cut_to_one_line_without_signs_that_steer() -> None:
    assert cut("a\nb\t c", 20) == "a b c"
    assert cut("x" * 30, 10) == "x" * 9 + "…"
    assert cut(None) == ""
    assert cut("\u202egnp.exe") == "\ufffdgnp.exe"


@given(st.text(), st.integers(2, 50))
def test_no_text_is_longer_than_asked_or_turns_what_follows(text: str, most: int) -> None:
    short = cut(text, most)
    assert len(short) <= most and "\n" not in short
    assert not set(plain(text) + short + line_text(text)) & set(TURNING + "\x1b\x00\x9b")


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
def test_a_line_is_shown_as_a_terminal_has_it_in_the_end(written: str, shown: str) -> None:
    assert line_text(written) == shown
