"""Command `python -m tests.simulator SEED`: the story of a seed; with FIRST-LAST, a range of seeds in two processes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pool

from tests.simulator.disasters import Broken, Run, installation
from tests.simulator.hunts import Lived, live, planted
from tests.simulator.mutants import MUTANTS

_SHARE = 50


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _tell(url: str, seed: int, mutant: str) -> int:
    """Run one seed and print it step by step."""
    world, db = installation(url)
    with planted(mutant) as kind:
        run = Run(world, db, seed, kind)
        try:
            run.go()
        except Broken as exc:
            print(f"{run.story.told()}\n\n{exc.promise} is broken: {exc.words}")
            return 1
    print(f"{run.story.told()}\n\nEvery promise held. Faults: {dict(run.faults)}")
    return 0


def _share(job: tuple[str, range]) -> Lived:
    return live(*job)


def _many(url: str, seeds: range, processes: int) -> int:
    """Run a range of seeds, and print the story of the first that breaks a promise."""
    began = time.monotonic()
    shares = [range(n, min(seeds.stop, n + _SHARE)) for n in range(seeds.start, seeds.stop, _SHARE)]
    done = steps = 0
    with Pool(processes) as pool:
        for lived in pool.imap(_share, [(url, share) for share in shares]):
            done, steps = done + lived.seeds, steps + lived.steps
            if lived.promise:
                print(lived.story)
                return 1
    print(f"{done} seeds, {steps} steps, {time.monotonic() - began:.0f} s: every promise held")
    return 0


def _hunted(job: tuple[str, range, str]) -> tuple[str, Lived, float]:
    began = time.process_time()
    return job[2], live(*job), time.process_time() - began


def _hunt(url: str, seeds: range, names: Sequence[str], processes: int) -> int:
    """Run each mutant through the seeds until one catches it."""
    missed = 0
    with Pool(processes) as pool:
        for name, lived, seconds in pool.imap_unordered(_hunted, [(url, seeds, name) for name in names]):
            found = f"{lived.promise} by seed {lived.seed}" if lived.promise else "not found"
            missed += not lived.promise
            print(f"{name:<24} {found} ({lived.seeds} seeds, {seconds:.0f} s)", flush=True)
    return 1 if missed else 0


def main() -> int:
    """Return 0 when every promise held or, with mutants, each was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("seeds", type=_seeds, metavar="SEED", help="one, told step by step, or FIRST-LAST")
    parser.add_argument(
        "--mutants",
        nargs="*",
        metavar="NAME",
        help="leave these guards out, A+B both at once; no name: each in turn",
    )
    parser.add_argument(
        "--database",
        default="sqlite://",
        metavar="URL",
        help="its rows are deleted; SQLite in memory by default",
    )
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    names = list(MUTANTS) if asked.mutants == [] else asked.mutants or []
    if unknown := [one for name in names for one in name.split("+") if one not in MUTANTS]:
        parser.error(f"no mutant {unknown[0]!r}: there are {', '.join(MUTANTS)}")
    if len(asked.seeds) == 1 and len(names) < 2:
        return _tell(asked.database, asked.seeds[0], "".join(names))
    if names:
        return _hunt(asked.database, asked.seeds, names, asked.processes)
    return _many(asked.database, asked.seeds, asked.processes)


if __name__ == "__main__":
    sys.exit(main())
