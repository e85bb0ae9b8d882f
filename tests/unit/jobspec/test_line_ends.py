"""Line ends of scripts: CR LF on all lines becomes LF, and nothing else is changed."""

from __future__ import annotations

import pytest

from engine.jobspec.line_ends import line_end_fault, with_line_feeds


@pytest.mark.parametrize(
    ("script", "changed"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("a\r\nb", "a\nb"),
        ("#!/bin/sh\r\necho\r\n", "#!/bin/sh\necho\n"),
        ("a\nb\n", "a\nb\n"),
        ("a", "a"),
        ("a\rb\n", "a\rb\n"),
        ("a\r", "a\r"),
    ],
)
def test_a_script_whose_lines_end_alike_is_accepted(script: str, changed: str) -> None:
    assert line_end_fault(script) is None
    assert with_line_feeds(script) == changed


@pytest.mark.parametrize("script", ["a\r\nb\n", "a\nb\r\n", "#!/bin/sh\r\na\nb\n"])
def test_a_mixture_is_refused_and_left_as_it_is(script: str) -> None:
    fault = line_end_fault(script)
    assert fault is not None and fault.hint == "save the script with line feeds only"
    assert with_line_feeds(script) == script
