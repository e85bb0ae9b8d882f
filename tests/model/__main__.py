"""Command `python -m tests.model [BOUND…] [--more] [--mutants [NAME…]] [--limit STATES] [--processes 2]`."""

from __future__ import annotations

import argparse
import sys
from multiprocessing import Pool

from tests.model import model_mutants
from tests.model.bounds import ALL, BY_NAME, CLEAN
from tests.model.explore import Result, explore

#: About 1.2 kB a state: the largest bound fits into 2 GB.
_MOST = 5_000_000
_MOST_OF_A_MUTANT = 250_000


def check(job: tuple[str, str, int]) -> Result:
    """Explore one bound under one mutant ("": none), up to a limit of states."""
    name, bound, limit = job
    model_mutants.plant(name)
    try:
        return explore(BY_NAME[bound], limit)
    finally:
        model_mutants.plant("")


def hunt(job: tuple[str, tuple[str, ...], int]) -> tuple[str, Result | None, list[str]]:
    """Try a mutant in one bound after the other until one catches it; also return the bounds that met the limit."""
    name, bounds, limit = job
    cut = []
    for bound in bounds:
        found = check((name, bound, limit))
        if found.gave_up:
            cut.append(bound)
        elif found.violation:
            return name, found, cut
    return name, None, cut


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description="Every state of small worlds.")
    parser.add_argument("bounds", nargs="*", metavar="BOUND", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--more", action="store_true", help="the larger bounds as well")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="hunt these planted faults; none: all")
    parser.add_argument(
        "--in", dest="within", nargs="+", metavar="BOUND", help="hunt mutants in these bounds"
    )
    parser.add_argument("--limit", type=int, help="states of a bound before it is given up")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    for name in [*asked.bounds, *(asked.within or ())]:
        if name not in BY_NAME:
            parser.error(f"no bound {name!r}: there are {', '.join(BY_NAME)}")
    for name in asked.mutants or ():
        if name not in model_mutants.MUTANTS:
            parser.error(f"no mutant {name!r}: there are {', '.join(model_mutants.MUTANTS)}")
    if asked.processes < 1 or (asked.limit is not None and asked.limit < 1):
        parser.error("--processes and --limit: at least 1")
    return asked


def _explore_all(asked: argparse.Namespace) -> int:
    bounds = asked.bounds or [bound.name for bound in (ALL if asked.more else CLEAN)]
    jobs = [("", name, asked.limit or _MOST) for name in reversed(bounds)]
    done = []
    with Pool(asked.processes) as pool:
        for found in pool.imap_unordered(check, jobs):
            done.append(found)
            figures = (
                f"{found.states:9} states{found.steps:10} steps  depth {found.depth:3} {found.seconds:6.1f} s"
            )
            print(f"{found.bound:8}{figures}  {found.violation or 'ok'}", flush=True)
            _tell(found)
    bad = sum(bool(found.violation) for found in done)
    states, deepest = sum(found.states for found in done), max(found.depth for found in done)
    verdict = f"{bad} of {len(done)} bounds failed" if bad else "all promises hold"
    print(f"{states:,} states in {len(done)} bounds, deepest {deepest}: {verdict}")
    return int(bad > 0)


def _hunt_all(asked: argparse.Namespace) -> int:
    names = asked.mutants or list(model_mutants.MUTANTS)
    bounds = tuple(asked.within or (bound.name for bound in ALL))
    limit, caught = asked.limit or _MOST_OF_A_MUTANT, 0
    with Pool(asked.processes) as pool:
        for name, found, cut in pool.imap(hunt, [(name, bounds, limit) for name in names]):
            if found is None:
                print(f"{name:24}NOT CAUGHT{'; cut off: ' + ' '.join(cut) if cut else ''}", flush=True)
                continue
            caught += 1
            print(f"{name:24}{found.bound:8}{len(found.story):3} steps  {found.violation}", flush=True)
            if len(names) == 1:
                _tell(found)
    print(f"{caught} of {len(names)} mutants caught")
    return int(caught < len(names) and asked.mutants != [])


def _tell(found: Result) -> None:
    for i, line in enumerate(found.story, 1):
        print(f"    {i:2} {line}")


def main() -> int:
    """Explore, or hunt mutants; return 1 when a promise is broken or a named mutant is not caught."""
    asked = _asked()
    return _explore_all(asked) if asked.mutants is None else _hunt_all(asked)


if __name__ == "__main__":
    sys.exit(main())
