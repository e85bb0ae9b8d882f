"""Log rows from frames: pieces of a line are joined, each link has a heading."""

from __future__ import annotations

from api.dashboard.log_rows import log_rows
from engine.model.log_gap import gap_note
from engine.store.log_lines import Line


def _lines(*frames: tuple[int, int, str]) -> list[Line]:
    """Return the lines of these frames: (link, stream, text)."""
    return [
        Line(number, 0, 1, 1, link, (stream, "", text))
        for number, (link, stream, text) in enumerate(frames, 1)
    ]


def _shown(*frames: tuple[int, int, str]) -> list[str]:
    return [row.text for row in log_rows(_lines(*frames), ("pre 0 (get)", "main"))]


def test_pieces_of_a_line_are_one_row_even_with_the_other_stream_between_them() -> None:
    assert _shown((1, 1, "out "), (1, 2, "err "), (1, 1, "put\n"), (1, 2, "or\n")) == [
        "main",
        "out put",
        "err or",
    ]


def test_each_link_has_its_own_heading() -> None:
    assert _shown((0, 1, "no end"), (1, 1, "begins\n")) == ["pre 0 (get)", "no end", "main", "begins"]
    assert _shown((7, 1, "unknown\n"))[0] == "link 7"


def test_a_row_keeps_the_number_of_its_first_piece_and_says_that_it_is_open() -> None:
    rows = log_rows(_lines((1, 1, "a"), (1, 1, "b"), (1, 1, "c\n"), (1, 1, "d")), ("x", "main"))
    assert [(row.number, row.text, row.open) for row in rows[1:]] == [(1, "abc", False), (4, "d", True)]


def test_no_row_continues_across_a_log_gap() -> None:
    rows = log_rows(_lines((1, 1, "begun"), (1, 0, gap_note(7)), (1, 1, "rest\n")), ("x", "main"))
    assert [(row.text, row.open) for row in rows[1:]] == [
        ("begun", False),
        (gap_note(7)[:-1], False),
        ("rest", False),
    ]
