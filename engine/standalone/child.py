"""Child process of the supervisor: it dies with the supervisor, its output is read, it is restarted when it dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from engine.wording.exit_codes import process_words
from engine.wording.text import harmless, shorten

#: Pause before a dead child is restarted, doubled each time …
FIRST_PAUSE_SECONDS = 0.5
#: … up to this; a child that ran for CALM_SECONDS begins with the first pause again.
LAST_PAUSE_SECONDS = 10.0
CALM_SECONDS = 30.0
_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b")
_SHOWN_LEVELS = ("WARNING", "ERROR", "CRITICAL", "FATAL")
#: Time and process id that the child prints before its message; the supervisor prints its own time.
_PREFIX = re.compile(
    r"^\[\d{4}-\d\d-\d\d[^\]]*\]\s*(\[\d+\]\s*)?(\[[A-Z]+\]\s*)?"  # gunicorn, Celery
    r"|^\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\s+"  # ours
    r"|^\d+:[A-Z] \d+ \w+ \d{4} [\d:.]+ [#*.-] "  # Redis
)
_MOST_CHARACTERS = 2000

#: Prints a line of the named child.
PrintLine = Callable[[str, str], None]


@dataclass(frozen=True)
class Command:
    """Command line of a child, with its environment, directory and inherited file descriptors."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    descriptors: tuple[int, ...] = ()
    #: A child that exits with 0 (a drained worker) is not restarted.
    may_leave: bool = False


@dataclass
class Child:
    """Process that runs until it is stopped. Call `start` from the main thread only.

    The kernel signals the child when the *thread* that started it ends (see die_with_parent.py).
    """

    command: Command
    print_line: PrintLine
    #: Print all lines, not only warnings and errors.
    verbose: bool = False
    #: Print no lines, during a start or stop whose usual warnings would only alarm.
    is_muted: bool = False
    restarts: int = 0
    #: The process ended with 78: its settings or its database must be mended before another start.
    is_misconfigured: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _has_left: bool = False
    _pause: float = FIRST_PAUSE_SECONDS
    _restart_at: float = 0.0
    _last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    _reader: threading.Thread | None = None

    @property
    def name(self) -> str:
        """Name that is printed before each line: broker, api, worker/default."""
        return self.command.name

    @property
    def pid(self) -> int | None:
        """Process id while the child runs, otherwise None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process."""
        argv = [sys.executable, "-I", "-S", str(_DIE_WITH_PARENT), str(os.getpid()), *self.command.argv]
        self._last_lines.clear()
        self._process = subprocess.Popen(
            argv,
            env=dict(self.command.environment),
            cwd=self.command.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.command.descriptors,
            # Ctrl-C on the terminal must reach the supervisor only.
            start_new_session=True,
        )
        self._started_at = time.monotonic()
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read_output, args=(self._process.stdout,), name=f"output of {self.name}", daemon=True
        )
        self._reader.start()

    def restart_if_dead(self) -> None:
        """Restart the process when it died and the pause is over. Called a few times a second."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._restart_at:
                self.start()
            return
        code = self._process.poll()
        if code is None or self._has_left:
            return
        if code == 0 and self.command.may_leave:
            self._has_left = True
            self._finish_reading()
            self.print_line(
                self.name, "left in order (drained or stopped); it stays down until the next start"
            )
            return
        if now - self._started_at > CALM_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        self._print_end(code)
        if code == os.EX_CONFIG:
            self.is_misconfigured = True
            return
        self.print_line(self.name, f"restarts in {self._pause:.1f} s")
        self._restart_at, self._pause = now + self._pause, min(self._pause * 2, LAST_PAUSE_SECONDS)
        self._process = None
        self.restarts += 1

    def last_output(self) -> str | None:
        """Return the last lines of a process that has ended, None while it runs."""
        if self._process is None or self._process.poll() is None:
            return None
        self._finish_reading()
        return "\n".join(self._last_lines) or process_words(self._process.returncode)

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_or_kill(self, seconds: float) -> bool:
        """Wait for the end, then kill the process and its children; return whether it ended in time."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(seconds, 0.05))
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        finally:
            self._finish_reading()

    def kill(self) -> None:
        """Kill the process and its children."""
        if self._process is None:
            return
        try:
            # The child has its own session: the group contains only the child and its children.
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended already
        self._process.wait(5)

    def _print_end(self, code: int) -> None:
        self._finish_reading()
        self.print_line(self.name, f"ended: {process_words(code)}")
        if not self.verbose:
            for line in self._last_lines:
                self.print_line(self.name, f"  {line}")

    def _finish_reading(self) -> None:
        if self._reader:
            self._reader.join(1.0)

    def _read_output(self, pipe: IO[bytes]) -> None:
        is_shown = self.verbose
        with pipe:
            while raw := pipe.readline(1 << 16):
                # A terminal would obey the control characters that a task's name could carry.
                line = shorten(harmless(raw.decode("utf-8", "replace").rstrip(), keep="\t"), _MOST_CHARACTERS)
                if not line:
                    continue
                self._last_lines.append(line)
                # A line without a level (of a traceback) is shown if the line before it is.
                if level := _LEVEL.search(line[:120]):
                    is_shown = level[1] in _SHOWN_LEVELS
                if self.verbose or (is_shown and not self.is_muted):
                    self.print_line(self.name, _PREFIX.sub("", line, count=1))
