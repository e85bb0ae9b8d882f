"""Text that somebody else chose, as it is shown."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.wording.text import (
    for_json,
    for_terminal,
    harmless,
    last_drawn,
    quoted,
    shorten,
    unsafe_character,
)

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


JOINED = [
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
    "\u0915\u094d\u200d\u0937",  # Hindi
    "\U0001f469\u200d\U0001f4bb",  # woman technologist
    "\U0001f469\U0001f3fd\u200d\U0001f52c",  # with a skin tone
    "\u2764\ufe0f\u200d\U0001f525",  # heart on fire
]


@pytest.mark.parametrize("word", JOINED)
def test_joiners_that_belong_to_the_spelling_stay(word: str) -> None:
    assert unsafe_character(word) is None
    assert harmless(word) == for_terminal(word) == for_json(word) == word


@pytest.mark.parametrize(
    "text",
    [
        "ad\u200dmin",
        "\u200cx",
        "\u0645\u200c",
        "\u0645\u200c\u200c\u062e",
        "\u0645\u200cx",
        "\u0645\u202e\u062e",
        "\u0645\u200b\u062e",
    ],
)
def test_joiners_that_hide_something_are_spelled(text: str) -> None:
    assert unsafe_character(text) is not None
    assert "\\u20" in harmless(text)


def test_escape_sequences_go_and_other_controls_are_spelled() -> None:
    text = "\x1b[31mred\x1b[0m\x1b]0;title\x07 \x1b(Ba\nb\u202ec\x9b1m\U000e0041"
    assert for_terminal(text) == "red a\\nb\\u202ec\\x9b1m\\U000e0041"


@given(st.text(st.characters()))
def test_nothing_harmless_can_command_a_terminal_or_turn_a_line(text: str) -> None:
    for shown in (harmless(text), harmless(text, instead="?"), for_terminal(text), quoted(text)):
        plain = shown.replace("\u200c", "").replace("\u200d", "")
        assert not {unicodedata.category(char) for char in plain} & UNSAFE
        assert unsafe_character(shown) is None


@given(st.text(st.characters(exclude_categories=sorted(UNSAFE))))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text and unsafe_character(text) is None


def test_kept_characters_stay_and_others_are_replaced() -> None:
    assert harmless("a\tb\x00\u200b\xa0c", keep="\t", instead="?") == "a\tb??\xa0c"


@pytest.mark.parametrize(
    ("line", "shown"),
    [("frame=1\rframe=2\r\n", "frame=2"), ("\x1b[1mbold\x1b[0m\n", "bold"), ("\x1b]8;;u\x1b\\link", "link")],
)
def test_a_line_that_rewrites_itself_shows_its_last_state(line: str, shown: str) -> None:
    assert last_drawn(line) == shown


def test_a_long_text_is_shortened_and_a_quoted_one_too() -> None:
    assert shorten("x" * 60) == "x" * 60 and shorten("x" * 61) == "x" * 59 + "…"
    assert shorten("abc def", 5) == "abc…"
    assert quoted("a\n" + "b" * 90) == '"a\\n' + "b" * 57 + '…"'


@given(st.dictionaries(st.text(), st.text(st.characters(exclude_categories=["Cs"]))))
def test_escaped_json_means_the_same_and_commands_no_terminal(value: dict[str, str]) -> None:
    document = for_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(document) == value
    assert not {unicodedata.category(char) for char in document if char != "\n"} & (UNSAFE - {"Cs"})


def test_controls_of_a_result_are_escaped_in_json() -> None:
    assert for_json('{"result": "\x9d52;c\u202e \U000e0041 \u20ac"}') == (
        '{"result": "\\u009d52;c\\u202e \\udb40\\udc41 \u20ac"}'
    )
