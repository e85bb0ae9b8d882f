"""Guards of the store, dropped by key: the store's statements are built again without them."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping

import pytest
import sqlalchemy as sa

from engine.store import guards, jobs, links, logs, nodes, outbox, tasks
from tests.simulator.sim_worker import Worker

GUARDED = (jobs, links, logs, nodes, outbox, tasks)
#: Keys of the guards that are weak at present, each with the condition that is enough instead.
WEAK: dict[str, sa.ColumnElement[bool]] = {}


def weaken(patch: pytest.MonkeyPatch, alternatives: Mapping[str, sa.ColumnElement[bool]]) -> None:
    """Have these guards, and those that are weak already, accept their alternatives until `patch` is undone."""
    for key, alternative in alternatives.items():
        assert key in guards.KEYS, f"no guard has the key {key!r}"
        patch.setitem(WEAK, key, alternative)
    with guards.weakened(WEAK):
        for module in GUARDED:
            for name, built in runpy.run_path(str(module.__file__)).items():
                if isinstance(built, sa.Executable):
                    patch.setattr(module, name, built)


def drop(patch: pytest.MonkeyPatch, *keys: str) -> type[Worker]:
    """Have these guards accept every row."""
    weaken(patch, dict.fromkeys(keys, guards.ALWAYS))
    return Worker


def without(*keys: str) -> Callable[[pytest.MonkeyPatch], type[Worker]]:
    """Return the mutant that drops these guards and nothing else."""
    return lambda patch: drop(patch, *keys)
