"""One child process of the supervisor: started tied to it, listened to, started again when it dies."""

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

#: Seconds before a child that died is started again, doubled each time …
FIRST_PAUSE_SECONDS = 0.5
#: … up to this, and back to the first once it has lived this long.
LAST_PAUSE_SECONDS = 10.0
CALM_SECONDS = 30.0
_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b")
_LOUD = ("WARNING", "ERROR", "CRITICAL", "FATAL")
#: Our own prefix carries the time; what the child put in front of its words is cut.
_FRONT = re.compile(
    r"^\[\d{4}-\d\d-\d\d[^\]]*\]\s*(\[\d+\]\s*)?(\[[A-Z]+\]\s*)?"  # gunicorn, Celery
    r"|^\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\s+"  # ours
    r"|^\d+:[A-Z] \d+ \w+ \d{4} [\d:.]+ [#*.-] "  # Redis
)
_LINE_CHARACTERS = 2000

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Command:
    """What to run: the words, the environment, the directory, and descriptors to hand down."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    descriptors: tuple[int, ...] = ()
    #: Exit 0 is its own wish (a drained worker): it is not started again.
    may_leave: bool = False


@dataclass
class Child:
    """A process that is to run until it is stopped. Started from the main thread only.

    The kernel sends the tether's signal when the *thread* that started it ends, not the process.
    """

    command: Command
    say: Say
    #: Show every line, not only warnings and errors.
    verbose: bool = False
    #: Say nothing of what it writes: while it starts and stops, when that is known by heart.
    hushed: bool = False
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _began: float = 0.0
    _left: bool = False
    _pause: float = FIRST_PAUSE_SECONDS
    _due: float = 0.0
    _last: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    _reader: threading.Thread | None = None

    @property
    def name(self) -> str:
        """What people see before its lines: broker, api, worker/default."""
        return self.command.name

    @property
    def pid(self) -> int | None:
        """Its process id while it runs, else None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Run the command now."""
        words = [sys.executable, "-I", "-S", str(_DIE_WITH_PARENT), str(os.getpid()), *self.command.words]
        self._last.clear()
        self._process = subprocess.Popen(
            words,
            env=dict(self.command.environment),
            cwd=self.command.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.command.descriptors,
            # A Ctrl-C on the terminal is the supervisor's to answer, not theirs.
            start_new_session=True,
        )
        self._began = time.monotonic()
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name=f"output of {self.name}", daemon=True
        )
        self._reader.start()

    def mind(self) -> None:
        """Start it again when it died and its pause is over. Called a few times a second."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._due:
                self.start()
            return
        code = self._process.poll()
        if code is None or self._left:
            return
        if code == 0 and self.command.may_leave:
            self._left = True
            self._finish_reading()
            self.say(
                self.name, "left in order (drained, or told to stop): it stays down until the next start"
            )
            return
        if now - self._began > CALM_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        self._tell_end(code)
        self.say(self.name, f"starts again in {self._pause:.1f} s")
        self._due, self._pause = now + self._pause, min(self._pause * 2, LAST_PAUSE_SECONDS)
        self._process = None
        self.restarts += 1

    def failed(self) -> str | None:
        """The last words of a child that ended by itself, None while it runs."""
        if self._process is None or self._process.poll() is None:
            return None
        self._finish_reading()
        return "\n".join(self._last) or _how(self._process.returncode)

    def terminate(self) -> None:
        """Ask it to end in order."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def end(self, seconds: float) -> bool:
        """Wait so long for it to end, then kill it with all that it started; True when it ended by itself."""
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
        """End it and all that it started, at once."""
        if self._process is None:
            return
        try:
            # Its session is its own: the group holds nothing but it and its children.
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # ended meanwhile
        self._process.wait(5)

    def _tell_end(self, code: int) -> None:
        self._finish_reading()
        self.say(self.name, f"ended: {_how(code)}")
        if not self.verbose:
            for line in self._last:
                self.say(self.name, f"  {line}")

    def _finish_reading(self) -> None:
        if self._reader:
            self._reader.join(1.0)

    def _listen(self, pipe: IO[bytes]) -> None:
        loud = self.verbose
        with pipe:
            while raw := pipe.readline(1 << 16):
                line = _harmless(raw.decode("utf-8", "replace").rstrip())
                if not line:
                    continue
                self._last.append(line)
                # A line without a level (a traceback's) belongs to the one before it.
                if level := _LEVEL.search(line[:120]):
                    loud = level[1] in _LOUD
                if self.verbose or (loud and not self.hushed):
                    self.say(self.name, _FRONT.sub("", line, count=1))


def _harmless(line: str) -> str:
    """No control characters: a task's name could carry some, and a terminal obeys them."""
    shown = "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in line)
    return shown[:_LINE_CHARACTERS]


def _how(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
