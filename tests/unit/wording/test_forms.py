"""Durations, times, exit codes and titles of links in words."""

from __future__ import annotations

import pytest

from engine.wording.durations import duration
from engine.wording.exit_codes import exit_words, process_words, signal_name
from engine.wording.links import link_title
from engine.wording.sizes import size
from engine.wording.times import ms_between, rfc3339, seconds_since_1970


@pytest.mark.parametrize(
    ("ms", "written"),
    [
        (None, ""),
        (-3, "0 ms"),
        (0.4, "0 ms"),
        (380, "380 ms"),
        (2_140, "2.1 s"),
        (38_000, "38 s"),
        (59_600, "1m 00s"),
        (878_000, "14m 38s"),
        (11_040_000, "3h 04m"),
        (525_600_000, "6d 02h"),
    ],
)
def test_a_duration_has_the_two_units_that_matter(ms: float | None, written: str) -> None:
    assert duration(ms) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KB"),
        (10_239, "10 KB"),
        ((1 << 20) - 1, "1.0 MB"),
        (59 << 20, "59 MB"),
        (5_476_083_302, "5.1 GB"),
        (3 << 40, "3.0 TB"),
        (3 << 50, "3072 TB"),
    ],
)
def test_a_size_has_the_digits_that_matter(number: int, written: str) -> None:
    assert size(number) == written


def test_exit_codes_have_words() -> None:
    codes = {
        0: "exit 0",
        3: "exit 3",
        127: "exit 127 (command not found)",
        137: "exit 137 (killed by SIGKILL)",
        178: "exit 178 (killed by signal 50)",
        193: "exit 193",
    }
    assert {code: exit_words(code) for code in codes} == codes
    assert exit_words(None) == ""
    assert [process_words(code) for code in (3, -9)] == ["exit 3", "killed by SIGKILL"]
    assert signal_name(15) == "SIGTERM"


@pytest.mark.parametrize(
    ("kind", "name", "index", "title"),
    [
        ("main", "main", 1, "main"),
        ("main", None, 0, "main"),
        ("pre", "pre", 0, "pre 0"),
        ("pre", None, 0, "pre 0"),
        ("post", "upload", 2, "post 2 (upload)"),
    ],
)
def test_a_link_has_one_title_everywhere(kind: str, name: str | None, index: int, title: str) -> None:
    assert link_title(kind, name, index) == title


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(1_764_036_000_250) == "2025-11-25T02:00:00.250Z"
    assert rfc3339(None) is None
    assert seconds_since_1970("2025-11-25T02:00:00.250123456Z") == pytest.approx(1_764_036_000.250)
    assert ms_between("2026-11-25T02:00:00.250Z", "2026-11-25T02:01:00.750Z") == 60_500
    assert ms_between(None, "2026-11-25T02:01:00.750Z") is None
