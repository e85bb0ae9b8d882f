"""Command line of a model: explore its bounds, or hunt its mutants."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from typing import Any

from tests.model.search import Result


@dataclass(frozen=True)
class Model:
    """Model as the command sees it. The functions are those of modules, so that a process can be told them."""

    program: str
    #: The bounds that are always explored; the largest last, since they are begun first.
    clean: tuple[Any, ...]
    #: The larger ones, with --more.
    more: tuple[Any, ...]
    mutants: Mapping[str, str]
    plant: Callable[[str], None]
    explore: Callable[[Any, int], Result]
    #: Most states of a bound, and of a bound with a mutant.
    limit: int
    limit_of_a_mutant: int

    @property
    def by_name(self) -> dict[str, Any]:
        """Bounds by their names."""
        return {bound.name: bound for bound in self.clean + self.more}


def check(model: Model, mutant: str, bound: str, limit: int) -> Result:
    """Explore one bound under one mutant ("": none), up to a limit of states."""
    model.plant(mutant)
    try:
        return model.explore(model.by_name[bound], limit)
    finally:
        model.plant("")


def _check(model: Model, limit: int, bound: str) -> Result:
    return check(model, "", bound, limit)


def hunt(
    model: Model, bounds: tuple[str, ...], limit: int, mutant: str
) -> tuple[str, Result | None, list[str]]:
    """Try a mutant in one bound after the other until one catches it; also return the bounds that met the limit."""
    cut = []
    for bound in bounds:
        found = check(model, mutant, bound, limit)
        if found.gave_up:
            cut.append(bound)
        elif found.violation:
            return mutant, found, cut
    return mutant, None, cut


def _asked(model: Model) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=model.program, description="Every state of small worlds.")
    parser.add_argument("bounds", nargs="*", metavar="BOUND", help=f"of {', '.join(model.by_name)}")
    parser.add_argument("--more", action="store_true", help="the larger bounds as well")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="hunt these planted faults; none: all")
    parser.add_argument("--story", action="store_true", help="tell the story of each mutant")
    parser.add_argument(
        "--in", dest="within", nargs="+", metavar="BOUND", help="hunt mutants in these bounds"
    )
    parser.add_argument("--limit", type=int, help="states of a bound before it is given up")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    for name in [*asked.bounds, *(asked.within or ())]:
        if name not in model.by_name:
            parser.error(f"no bound {name!r}: there are {', '.join(model.by_name)}")
    for name in asked.mutants or ():
        if name not in model.mutants:
            parser.error(f"no mutant {name!r}: there are {', '.join(model.mutants)}")
    if asked.processes < 1 or (asked.limit is not None and asked.limit < 1):
        parser.error("--processes and --limit: at least 1")
    return asked


def _explore_all(model: Model, asked: argparse.Namespace) -> int:
    bounds = asked.bounds or [bound.name for bound in model.clean + (model.more if asked.more else ())]
    done = []
    with Pool(asked.processes) as pool:
        explore = partial(_check, model, asked.limit or model.limit)
        for found in pool.imap_unordered(explore, reversed(bounds)):
            done.append(found)
            figures = (
                f"{found.states:9} states{found.steps:10} steps  depth {found.depth:3} {found.seconds:6.1f} s"
            )
            print(f"{found.bound:10}{figures}  {found.violation or 'ok'}", flush=True)
            _tell(found)
    bad = sum(bool(found.violation) for found in done)
    states, deepest = sum(found.states for found in done), max(found.depth for found in done)
    verdict = f"{bad} of {len(done)} bounds failed" if bad else "all promises hold"
    print(f"{states:,} states in {len(done)} bounds, deepest {deepest}: {verdict}")
    return int(bad > 0)


def _hunt_all(model: Model, asked: argparse.Namespace) -> int:
    names = asked.mutants or list(model.mutants)
    bounds = tuple(asked.within or (bound.name for bound in model.clean + model.more))
    limit, caught = asked.limit or model.limit_of_a_mutant, 0
    with Pool(asked.processes) as pool:
        for name, found, cut in pool.imap(partial(hunt, model, bounds, limit), names):
            if found is None:
                print(f"{name:24}NOT CAUGHT{'; cut off: ' + ' '.join(cut) if cut else ''}", flush=True)
                continue
            caught += 1
            print(f"{name:24}{found.bound:10}{len(found.story):3} steps  {found.violation}", flush=True)
            if asked.story or len(names) == 1:
                _tell(found)
    print(f"{caught} of {len(names)} mutants caught")
    return int(caught < len(names) and asked.mutants != [])


def _tell(found: Result) -> None:
    for i, line in enumerate(found.story, 1):
        print(f"    {i:2} {line}")


def run(model: Model) -> int:
    """Explore, or hunt mutants; return 1 when a promise is broken or a named mutant is not caught."""
    asked = _asked(model)
    return _explore_all(model, asked) if asked.mutants is None else _hunt_all(model, asked)
