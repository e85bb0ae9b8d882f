"""Runs of many seeds: whether the promises held, and which seed catches a mutant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.simulator.checker import Broken
from tests.simulator.disasters import Run, installation
from tests.simulator.mutants import MUTANTS
from tests.simulator.sim_worker import Worker


@dataclass
class Lived:
    """Result of some seeds, up to the first that broke a promise."""

    seeds: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    #: The first broken promise, the seed that broke it, and its story.
    promise: str = ""
    seed: int = -1
    story: str = ""


@contextmanager
def planted(mutant: str) -> Iterator[type[Worker]]:
    """Yield the worker to run while this mutant ("": none; "a+b": both) is in the protocol."""
    with pytest.MonkeyPatch.context() as patch:
        kinds = [MUTANTS[name](patch) for name in mutant.split("+") if name]
        several = tuple(kind for kind in kinds if kind is not Worker)
        yield type("Weakened", several, {}) if several else Worker


def live(url: str, seeds: Iterable[int], mutant: str = "") -> Lived:
    """Run one seed after the other on this database, until one breaks a promise."""
    world, db = installation(url)
    lived = Lived()
    try:
        with planted(mutant) as kind:
            for seed in seeds:
                run = Run(world, db, seed, kind)
                lived.seeds += 1
                try:
                    run.go()
                except Broken as exc:
                    lived.promise, lived.seed, lived.story = exc.promise, seed, str(exc)
                    break
                finally:
                    lived.steps += run.story.step
                    lived.faults += run.faults
    finally:
        db.close()
    return lived
