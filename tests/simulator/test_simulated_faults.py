"""Thousands of small disasters, each from a seed: every task ends once, and nothing is left behind.

A failure prints the seed's story; `python -m tests.simulator SEED` prints it again.
"""

from __future__ import annotations

import os

import pytest

from tests.simulator.hunts import live
from tests.support.databases import Postgres

IN_MEMORY = "sqlite://"
#: Seeds of a test; how many tests there are in each ring goes by the time that they take. `make quick` asks for 1,000.
SHARE = 50
SEEDS = int(os.environ.get("SIMULATOR_SEEDS", "200"))
LONG_SHARE = 500
SLOW_SHARE = 25


def _hold(url: str, seeds: range) -> None:
    lived = live(url, seeds)
    assert not lived.promise, lived.story
    assert lived.seeds == len(seeds)
    assert len(lived.faults) > 10, "too few kinds of faults to prove anything"


@pytest.mark.parametrize("share", range(SEEDS // SHARE))
def test_every_task_ends_once_and_nothing_is_left(share: int) -> None:
    _hold(IN_MEMORY, range(share * SHARE, (share + 1) * SHARE))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(20))
def test_every_task_ends_once_under_ten_thousand_seeds(share: int) -> None:
    _hold(IN_MEMORY, range(share * LONG_SHARE, (share + 1) * LONG_SHARE))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(12))
def test_every_task_ends_once_on_postgresql(postgres_server: Postgres, share: int) -> None:
    _hold(postgres_server.cleared(), range(share * SLOW_SHARE, (share + 1) * SLOW_SHARE))
