"""Steps of `deploy/test`, in order: .venv, Debian packages, Docker, stand-ins, linters, pytest, clean-up."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import setup_apt
import setup_docker
import setup_python
from setup_screen import Step, Stop, forgive_the_terminal, reader_is_gone, say

LINTERS = (
    ("ruff check", ["ruff", "check", "--quiet", "."]),
    ("ruff format", ["ruff", "format", "--check", "--quiet", "."]),
    ("lint-imports", ["lint-imports", "--no-cache"]),
)
#: Half a minute each, and longer beside pytest; they run at the same time, because pytest mostly waits.
SLOW_LINTERS = (
    ("mypy", ["mypy", "--no-error-summary"]),
    (
        "branch coverage of jobspec and model",
        [
            *("pytest", "-q", "-p", "no:cacheprovider", "--timeout=600"),
            *("tests/unit/jobspec", "tests/unit/model"),
            *("--cov=engine.jobspec", "--cov=engine.model", "--cov-branch", "--cov-fail-under=95"),
        ],
    ),
)


def _program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) for name in names)


def _postgresql() -> bool:
    return bool(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or shutil.which("initdb") is not None


#: Debian package -> whether its programs are installed, from whichever source.
NEEDED: dict[str, Callable[[], bool]] = {
    "redis-server": _program("redis-server", "valkey-server"),
    "postgresql": _postgresql,
    "pgbouncer": lambda: shutil.which("pgbouncer") is not None or os.path.exists("/usr/sbin/pgbouncer"),
    "chromium": _program("chromium", "chromium-browser", "google-chrome"),
    "ffmpeg": _program("ffmpeg"),
    "wget": _program("wget"),
    "busybox-static": _program("busybox"),
    "curl": _program("curl"),
}


#: More packages for `--long`.
NEEDED_LONG: dict[str, Callable[[], bool]] = {
    "libfaketime": lambda: bool(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")),
}


def main(script: str, arguments: list[str]) -> int:
    """Run everything and return the exit status."""
    forgive_the_terminal()
    setup_python.listen_for_interrupts()
    try:
        if not setup_python.is_inside():
            _refuse_early(arguments)
            setup_python.enter(os.path.abspath(script), arguments, setup_python.TEST_EXTRAS)
        with contextlib.ExitStack() as stage:
            try:
                return _inside(arguments, stage)
            finally:
                setup_python.ignore_interrupts()
    except Stop as exc:
        print(exc, file=sys.stderr)
        return exc.status
    except BrokenPipeError:
        return reader_is_gone()
    except KeyboardInterrupt:
        say("\nInterrupted. Nothing is left running.")
        return 130


def _refuse_early(arguments: Sequence[str]) -> None:
    setup_docker.refuse_early()
    missing = _missing(arguments)
    if missing and not setup_apt.may_install():
        names = " ".join(missing)
        raise Stop(
            f"the tests need programs that are missing: sudo apt-get install {names}, or install them with your "
            "system's package manager"
        )


def _missing(arguments: Sequence[str]) -> list[str]:
    needed = NEEDED | NEEDED_LONG if "--long" in arguments else NEEDED
    return [package for package, is_here in needed.items() if not is_here()]


def _inside(arguments: Sequence[str], stage: contextlib.ExitStack) -> int:
    import images
    import setup_images

    os.chdir(setup_python.ROOT)
    setup_python.keep_bytecode()
    os.environ["PATH"] = (
        os.path.join(setup_python.VENV, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
    )
    _install(_missing(arguments))
    stage.enter_context(setup_docker.Daemon())
    stage.enter_context(setup_images.standins(sorted(images.RECIPES)))
    failed = [name for name, command in LINTERS if not _Linter(name, command, stage).holds()]
    beside = [_Linter(name, command, stage) for name, command in SLOW_LINTERS]
    code = _pytest(arguments)
    failed += [linter.name for linter in beside if not linter.holds()]
    if failed:
        print(f"failed: {', '.join(failed)}; see above", file=sys.stderr)
    return code or (1 if failed else 0)


def _install(packages: Sequence[str]) -> None:
    if not packages:
        Step("servers", "Redis, PostgreSQL, pgbouncer, Chromium, ffmpeg: present").done()
        return
    step = Step("servers", f"installing Debian's {', '.join(packages)}")
    with tempfile.NamedTemporaryFile(prefix="ferryman-apt-") as log:
        try:
            setup_apt.install(packages, log.name)
        except BaseException:
            step.broken()
            raise
    step.done()


class _Linter:
    """Linter that runs; it is killed when the stage closes."""

    def __init__(self, name: str, command: Sequence[str], stage: contextlib.ExitStack) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [os.path.join(setup_python.VENV, "bin", command[0]), *command[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        stage.callback(self._end)

    def holds(self) -> bool:
        """Wait for the end, print the output of a failure, and return whether the linter succeeded."""
        step = Step("lint", self.name)
        output, _ = self._process.communicate()
        holds = self._process.returncode == 0
        step.done("" if holds else ": failed")
        if not holds:
            print(output, flush=True)
        return holds

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _pytest(arguments: Sequence[str]) -> int:
    """Run pytest as a child process and return its exit status; without arguments, all but tests marked long.

    It runs in several processes, each with its own servers; `-n 0` runs one test after another.
    """
    given = [a for a in arguments if a != "--long"]
    chosen = [] if "--long" in arguments or "-m" in given else ["-m", "not long"]
    if not any(a.startswith(("-n", "--numprocesses", "--pdb")) for a in given):
        # Two more than cores: a test mostly waits for a lease, a grace or a container.
        chosen += ["-n", str((os.cpu_count() or 1) + 2), "--dist", "worksteal"]
    # The servers are installed: with CI set, a test that finds none fails and is not skipped.
    environment = {**os.environ, "CI": os.environ.get("CI", "true")}
    child = subprocess.Popen([setup_python.PYTHON, "-m", "pytest", *chosen, *given], env=environment)
    try:
        return child.wait()
    except KeyboardInterrupt:
        # On a terminal pytest got the same Ctrl-C and cleans up; give it time.
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(60)
        child.kill()
        raise
