"""Commands on a pseudo-terminal of 100 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def run_on_terminal(words: Sequence[str], env: Mapping[str, str], seconds: float = 60) -> tuple[int, str]:
    """Run the command on a terminal; return its exit status and its output with \\n as line ends."""
    near_end, far_end = pty.openpty()
    fcntl.ioctl(far_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with subprocess.Popen(words, env=dict(env), stdin=far_end, stdout=far_end, stderr=far_end) as process:
        os.close(far_end)
        screen = b""
        while piece := _read(near_end):
            screen += piece
        os.close(near_end)
        return process.wait(seconds), screen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side is closed
        return b""
