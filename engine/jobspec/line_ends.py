"""Line ends of scripts: CR LF, as editors and forms of Windows write them, becomes LF; a mixture is refused.

A script is a `run`, or a file that begins with `#!`. Other files are data: they reach the container as written.
"""

from __future__ import annotations

from engine.jobspec.problems import Fault


def is_script_file(text: str) -> bool:
    """Return whether the kernel reads the file's first line as the name of its interpreter."""
    return text.startswith("#!")


def line_end_fault(script: str) -> Fault | None:
    """Check that all lines of a script end alike: the shell takes a CR for a part of the line's last word."""
    with_return, lines = script.count("\r\n"), script.count("\n")
    if with_return in (0, lines):
        return None
    return Fault(
        f"{with_return} of the {lines} line ends are CR LF and the others LF",
        "save the script with line feeds only",
    )


def with_line_feeds(script: str) -> str:
    """Return the script with LF as its line ends, if each of them is CR LF; else unchanged."""
    is_all = 0 < script.count("\n") == script.count("\r\n")
    return script.replace("\r\n", "\n") if is_all else script
