"""Durations, sizes and CPUs: what they mean, and what means nothing."""

from __future__ import annotations

import pytest

from engine.errors import FerrymanError
from engine.jobspec import quantities


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("1h30m", 5400),
        ("100ms", 0.1),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("2μs", 2e-6),
        ("3ns", 3e-9),
        ("1h1m1s1ms", 3661.001),
        ("0s", 0),
        ("8784h", 8784 * 3600),
    ],
)
def test_a_duration_in_the_form_of_go_is_seconds(text: str, seconds: float) -> None:
    assert quantities.duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "0",
        "-5m",
        "+5m",
        "5x",
        "5 s",
        "5 parsecs",
        "1d",
        "s",
        "1h30",
        ".",
        "8785h",
        "9" * 70 + "s",
        "٣s",
    ],
)
def test_another_form_is_no_duration(text: str) -> None:
    with pytest.raises(quantities.BadQuantity):
        quantities.duration_seconds(text)


def test_the_message_says_what_to_write() -> None:
    with pytest.raises(ValueError) as caught:
        quantities.duration_seconds("5 parsecs")
    assert str(caught.value) == '"5 parsecs" is not a duration: write 5s, 10m or 1h30m'
    assert isinstance(caught.value, FerrymanError)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("512mb", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5g", 3 << 29),
        ("2k", 2048),
        ("1t", 1 << 40),
        ("7b", 7),
        ("7", 7),
        ("64t", 64 << 40),
    ],
)
def test_a_size_in_the_form_of_docker_is_bytes(text: str, size: int) -> None:
    assert quantities.memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1m", "1e3", "1 00m", "1mm", "65t", "0", "9" * 70, "nan"])
def test_another_form_is_no_size(text: str) -> None:
    with pytest.raises(quantities.BadQuantity):
        quantities.memory_bytes(text)


def test_a_bare_number_below_the_least_is_asked_whether_megabytes_were_meant() -> None:
    with pytest.raises(quantities.BadQuantity, match="write 512m for megabytes"):
        quantities.memory_bytes("512", quantities.MEMORY_LEAST_BYTES)
    assert quantities.memory_bytes("6m", quantities.MEMORY_LEAST_BYTES) == 6 << 20


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("1.5", 1.5), (".5", 0.5), ("0.01", 0.01), ("4096", 4096)]
)
def test_cpus_are_a_decimal_number(text: str, number: float) -> None:
    assert quantities.cpus(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "0.001", "-1", "+1", "nan", "inf", "1e400", "1e1", "two", "4097", "9" * 20]
)
def test_other_numbers_are_no_cpus(text: str) -> None:
    with pytest.raises(quantities.BadQuantity):
        quantities.cpus(text)
