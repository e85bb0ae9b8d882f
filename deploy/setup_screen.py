"""One line per step of `deploy/demo` and `deploy/test`: said before it is done, with its seconds after.

Standard library only, any Python since 3.6: it says what is missing where the rest cannot run.
"""

import os
import sys
import time

WIDTH = 88


class Stop(Exception):
    """Ends the script: the message says what is wrong and what to do; `status` is its exit status."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


class Step:
    """A line that begins at once and gets its seconds at the end, even when several sentences follow."""

    def __init__(self, label, words):
        self._label = label
        self._began = time.monotonic()
        self._column = 0
        self._write(f"  {label:<9} {words}")

    def then(self, words):
        """Another sentence on a line of its own: something else that is done now."""
        self._end_line()
        self._write(f"  {'':<9} {words}")

    def more(self, words):
        """A word more on the same line."""
        self._write(words)

    def done(self, words=""):
        """The step is over."""
        self._write(words)
        took = f"{time.monotonic() - self._began:.1f} s"
        self._write(" " * max(2, WIDTH - self._column - len(took)) + took)
        self._end_line()

    def broken(self):
        """The step failed: leave the line."""
        self._end_line()

    def _write(self, words):
        self._column += len(words)
        sys.stdout.write(words)
        sys.stdout.flush()

    def _end_line(self):
        if self._column:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._column = 0


def say(words=""):
    """A plain line."""
    print(words, flush=True)


def reader_is_gone():
    """Nobody reads our output any more (| head): say nothing further; returns the exit status for it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def forgive_the_terminal():
    """Signs that the terminal cannot show become ?, and never an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
