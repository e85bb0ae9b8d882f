"""A command whose output is a terminal: a pseudo-terminal of 100 columns, read to its end."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def on_a_terminal(words: Sequence[str], env: Mapping[str, str], seconds: float = 60) -> tuple[int, str]:
    """Exit status and all that was written, line ends as \\n."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with subprocess.Popen(words, env=dict(env), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        screen = b""
        while piece := _read(ours):
            screen += piece
        os.close(ours)
        return process.wait(seconds), screen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side is closed
        return b""
