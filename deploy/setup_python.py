"""Virtual environment `.venv`: made if it is missing, brought up to date when setup.cfg has changed."""

from __future__ import annotations

import glob
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import setup_apt
from setup_screen import Step, Stop

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
#: Extras of setup.cfg for the demo; those for the tests take longer to download.
DEMO_EXTRAS = "standalone,postgresql"
TEST_EXTRAS = "dev,standalone,postgresql"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STAMP = os.path.join(VENV, ".ferryman-setup")
_LOG = os.path.join(VENV, "setup.log")


def is_inside() -> bool:
    """Return whether this process runs in .venv."""
    return os.path.realpath(sys.prefix) == os.path.realpath(VENV)


def keep_bytecode() -> None:
    """Let child processes store compiled modules, even if the environment forbids it, as containers often do.

    The installation compiles nothing, so otherwise each start of a worker compiles a thousand modules and takes three
    times the processor time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def enter(script: str, arguments: Sequence[str], extras: str) -> NoReturn:
    """Make .venv ready, then run the same script in it. Does not return."""
    keep_bytecode()
    prepare(extras)
    # An interrupt while the new interpreter starts waits until `listen_for_interrupts`.
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    os.execv(PYTHON, [PYTHON, "-u", script, *arguments])


def listen_for_interrupts() -> None:
    """Raise KeyboardInterrupt on Ctrl-C, SIGTERM and a closed terminal, so that the script cleans up."""
    for number in INTERRUPTS:
        signal.signal(number, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)


def ignore_interrupts() -> None:
    """Ignore further interrupts: the script is cleaning up, and a second Ctrl-C must not stop that."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def prepare(extras: str) -> None:
    """Make .venv ready, and announce each step before it runs. Raises Stop."""
    installed = _read(_STAMP)
    if os.path.exists(PYTHON) and installed in (_fingerprint(extras), _fingerprint(TEST_EXTRAS)):
        Step("python", ".venv ready").done()
        return
    if os.path.exists(PYTHON):
        step = Step("python", "bringing .venv up to date with setup.cfg")
        # Packages that are installed already must stay.
        extras = TEST_EXTRAS if os.path.exists(os.path.join(VENV, "bin", "pytest")) else extras
    else:
        step = Step("python", "making .venv, installing Ferryman and its libraries")
        _make(step)
    command = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "-e",
        f".[{extras}]",
    ]
    with open(_LOG, "w") as log:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        step.broken()
        raise Stop(
            f"pip could not install Ferryman (complete output in {_LOG}):\n{setup_apt.last_lines(_LOG)}"
        )
    with open(_STAMP, "w") as stamp:
        stamp.write(_fingerprint(extras))
    count = len(glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", "*.dist-info")))
    step.done(f": {count} packages")


def _make(step: Step) -> None:
    if not _makes_venvs():
        if not setup_apt.may_install():
            step.broken()
            raise Stop("this Python has no venv: install python3-venv (Debian), then run this again")
        step.then("this Python has no venv: installing Debian's python3-venv")
        setup_apt.install(["python3-venv"], os.path.join(ROOT, ".venv-apt.log"))
        os.unlink(os.path.join(ROOT, ".venv-apt.log"))
    done = subprocess.run(
        [sys.executable, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        step.broken()
        raise Stop(f"python -m venv {VENV} failed:\n{done.stdout.decode('utf-8', 'replace').strip()}")


def _makes_venvs() -> bool:
    # Debian ships venv without ensurepip, which then fails halfway.
    done = subprocess.run(
        [sys.executable, "-c", "import venv, ensurepip"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _fingerprint(extras: str) -> str:
    text = f"{extras} {ROOT} ".encode()
    with open(os.path.join(ROOT, "setup.cfg"), "rb") as file:
        return hashlib.sha256(text + file.read()).hexdigest()


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
