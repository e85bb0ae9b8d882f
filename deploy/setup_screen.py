"""Output of `deploy/demo` and `deploy/test`: one line per step, begun before the step, ended with its seconds.

Standard library only: it must be able to tell what is missing where nothing else runs.
"""

from __future__ import annotations

import os
import sys
import time

WIDTH = 88


class Stop(Exception):
    """Error that ends the script: the message tells what is wrong and what to do; `status` is the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


class Step:
    """Line of one step: printed when the step begins, completed with its seconds when the step ends."""

    def __init__(self, label: str, words: str) -> None:
        self._label = label
        self._began = time.monotonic()
        self._column = 0
        self._write(f"  {label:<9} {words}")

    def then(self, words: str) -> None:
        """Continue on a line of its own: the step goes on to something else."""
        self._end_line()
        self._write(f"  {'':<9} {words}")

    def more(self, words: str) -> None:
        """Append words to the line."""
        self._write(words)

    def done(self, words: str = "") -> None:
        """End the step: append words and the seconds it took."""
        self._write(words)
        took = f"{time.monotonic() - self._began:.1f} s"
        self._write(" " * max(2, WIDTH - self._column - len(took)) + took)
        self._end_line()

    def broken(self) -> None:
        """End the line of a failed step, without its seconds."""
        self._end_line()

    def _write(self, words: str) -> None:
        self._column += len(words)
        sys.stdout.write(words)
        sys.stdout.flush()

    def _end_line(self) -> None:
        if self._column:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._column = 0


def say(words: str = "") -> None:
    """Print a line at once."""
    print(words, flush=True)


def reader_is_gone() -> int:
    """Discard further output, because its reader has gone (| head), and return the exit status for that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def forgive_the_terminal() -> None:
    """Print ? for characters that the terminal cannot show, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
