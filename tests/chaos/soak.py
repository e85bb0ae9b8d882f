"""Soak test: break everything at random for some minutes, then check each promise.

`python -m tests.chaos.soak --seed N --minutes M [--database sqlite|postgresql]`: real Redis, Docker, API and plain
Celery workers. The seed determines all faults and tasks; the machine decides which of them meet. Exit status 0 when
every promise was kept, 1 when one was broken (the output then names the directory of the logs), 2 without the
servers, 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.errors import RuntimeUnavailable
from tests.chaos.soaking import verdict
from tests.chaos.soaking.ground import Ground, laid_out
from tests.chaos.soaking.plans import IMAGE
from tests.chaos.soaking.soak_faults import Faults
from tests.chaos.soaking.submitting import Submitter, open_tasks, states
from tests.support.docker_daemon import provide
from tests.support.task_promises import doubled, left_over
from tests.support.waiting import wait_until

_START_SECONDS = 120.0
_TICK_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 5.0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; default: drawn and printed")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults happen (1)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--settle", type=float, default=240.0, help="seconds in which all must end afterwards (240)"
    )
    parser.add_argument("--open", type=int, default=14, help="tasks that are open at once at most (14)")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two faults, on average (4)")
    asked = parser.parse_args()
    if not 0 < asked.minutes <= 24 * 60:
        parser.error("--minutes: more than 0, at most a day")
    if asked.every <= 0 or asked.open < 1:
        parser.error("--every: more than 0; --open: at least 1")
    return asked


class Soak:
    """One soak: faults and submissions, then a time without faults, then the checks."""

    def __init__(self, ground: Ground, seed: int, asked: argparse.Namespace) -> None:
        self.ground = ground
        self.submitter = Submitter(ground, seed, asked.open)
        self.faults = Faults(ground, seed, asked.every)
        self.wrong: list[str] = []
        self._began = self._looked = self._told = time.monotonic()

    def disturb(self, seconds: float) -> None:
        """Submit and break things for this many seconds; then mend everything."""
        wait_until(self.ground.is_up, _START_SECONDS, 0.2)
        self.submitter.start()
        next_fault = self._began = time.monotonic()
        end = next_fault + seconds
        while time.monotonic() < end:
            if time.monotonic() >= next_fault:
                next_fault = time.monotonic() + self.faults.begin()
            self.faults.mend()
            self._tick()
        self.faults.mend(all_of_it=True)
        self.submitter.stop()
        print(f"{self._since():5.0f} s  the faults stop", flush=True)

    def settle(self, seconds: float) -> None:
        """Wait until every task has ended and nothing is left over; whatever stays open is a broken promise."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._tick()
            if states(self.ground) and not open_tasks(self.ground) and not left_over(self.ground.fleet):
                return
        if n := open_tasks(self.ground):
            self.wrong.append(f"{n} tasks have not ended {seconds:.0f} s after the last fault")

    def _tick(self) -> None:
        self.ground.watch()
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            found = ", ".join(f"{state} {n}" for state, n in sorted(states(self.ground).items()))
            print(f"{self._since():5.0f} s  {found} · faults {sum(self.faults.done.values())}", flush=True)
        threading.Event().wait(_TICK_SECONDS)

    def _look(self) -> None:
        try:
            self.wrong += doubled(self.ground.fleet.runtime().list())
        except RuntimeUnavailable as exc:
            print(f"Docker does not answer: {exc}", flush=True)

    def _since(self) -> float:
        return time.monotonic() - self._began


def main() -> int:
    """Run the soak and return the exit status."""
    asked = _asked()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    signal.signal(signal.SIGTERM, _stop)
    home = Path(tempfile.mkdtemp(prefix=f"ferryman-soak-{seed}-"))
    is_kept = True
    try:
        provide([IMAGE])
        verdict.row("seed", f"{seed}, {asked.minutes:g} min on {asked.database}, commit {verdict.commit()}")
        is_kept = _soak(home, seed, asked)
    except KeyboardInterrupt:
        print("Stopped by you. Nothing is left running.")
        return 130
    except (pytest.fail.Exception, pytest.skip.Exception) as exc:
        print(f"this machine lacks something: {exc.msg}", file=sys.stderr)
        return 2
    finally:
        if is_kept:
            shutil.rmtree(home, ignore_errors=True)
    if not is_kept:
        print(f"repeat it with --seed {seed}; rows and logs are in {home}")
    return 0 if is_kept else 1


def _soak(home: Path, seed: int, asked: argparse.Namespace) -> bool:
    """Start the installation, disturb it, let it settle, check and report; return True when every promise was kept."""
    with laid_out(home, asked.database) as ground:
        soak = Soak(ground, seed, asked)
        verdict.row("settings", _settings(ground))
        try:
            soak.disturb(asked.minutes * 60)
            soak.settle(asked.settle)
        finally:
            # Its next look would make the database file again.
            soak.submitter.stop()
        found = verdict.ask(ground, soak.submitter, soak.faults, soak.wrong)
        verdict.tell(found, soak.submitter, soak.faults, ground)
        return found.is_kept


def _settings(ground: Ground) -> str:
    told = ground.fleet.settings.cluster
    load = os.getloadavg()[0]
    return (
        f"lease {told.lease_seconds:g} s, grace {told.grace_min_seconds:g} s, {len(ground.workers)} workers;"
        f" load {load:.1f} on {os.cpu_count()} processors before it began"
    )


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
