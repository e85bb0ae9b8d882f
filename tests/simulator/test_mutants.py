"""Mutants are caught: with one guard or rule left out, some seed breaks a promise.

CAUGHT names the seed that last caught each mutant; further seeds are tried if it does not, because a change of the
code or of the simulator changes the stories. `python -m tests.simulator 0-999 --mutants NAME` searches.
"""

from __future__ import annotations

from itertools import chain

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from engine.store import guards, tasks
from tests.simulator.hunts import live, planted
from tests.simulator.mutants import MUTANTS, SILENT, SILENT_GUARDS, TOGETHER
from tests.simulator.weak_guards import WEAK

CAUGHT = {
    "mark-state": 0,
    "mark-token": 7,
    "mark-resend-state": 0,
    "resend-state": 4,
    "resend-token": 67,
    "claim-token": 2,
    "claim-state": 0,
    "claim-own_live": 2,
    "begin-link-token": 1,
    "confirm-token": 15,
    "confirm-owner": 680,
    "confirm-ignored": 6,
    "finish-token": 35,
    "give-back-token": 100,
    "give-back-state": 609,
    "cancel-state": 55,
    "leave-state": 34,
    "beat-state": 0,
    "live-state": 0,
    "takeover-own_live": 2,
    "takeover-delivery": 8,
    "takeover-token": 161,
    "takeover-state": 146,
    "takeover-found": 38,
    "self-takeover-state": 177,
    "self-takeover-own": 38,
    "restart-state": 37,
    "restart-looked": 2,
    "restart-joining": 6,
    "restart-delivery": 2,
    "restart-uses-retry": 2,
    "timeout-lapse": 1,
    "timeout-looked": 22,
    "timeout-early": 0,
    "no-clock": 0,
    "resume-anew": 0,
    "leave-gives-all": 80,
    "crash-self": 1,
    "crash-left": 3,
    "lapse-sequence": 0,
    "resume-last": 1,
    "find-no-created": 1,
    "find-no-exited": 25,
    "find-no-volume": 152,
    "join-no-stale": 75,
    "join-no-adopt": 22,
    "join-blind": 9,
    "looked-first": 10,
    "looked-late": 36,
    "same-node-id": 0,
    "start-exited": 8,
    "start-created": 107,
    "volume-unchecked": 19,
    "sweep-rows-first": 0,
    "remove-when-refused": 35,
    "refused-unlooked": 19,
    "no-tie-up": 26,
    "no-resend": 1,
    "no-restart": 0,
    "no-lapse": 4,
    "self-takeover-token": 1435,
    "name-origin": 311,
    "ok-at-once": 1258,
    "unmake-nothing": 89,
}
#: With two guards left out, of which either would do.
CAUGHT_TOGETHER = {"clear-nothing+join-no-stale": 74}
#: Found within a few seeds, whatever the story.
SOON = ("claim-state", "restart-uses-retry", "no-restart")
MOST = 400


def _hunt(mutant: str, first: int, most: int) -> None:
    found = live("sqlite://", chain([first], range(most)), mutant)
    assert found.promise, f"{mutant}: no promise broken in {found.seeds} seeds"
    assert "as it happened" in found.story


@pytest.mark.parametrize("mutant", SOON)
def test_a_guard_left_out_is_found_with_its_story(mutant: str) -> None:
    _hunt(mutant, CAUGHT[mutant], 30)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", [name for name in CAUGHT if name not in SOON])
def test_each_guard_left_out_is_found(mutant: str) -> None:
    _hunt(mutant, CAUGHT[mutant], MOST)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutants", CAUGHT_TOGETHER)
def test_two_guards_that_do_the_same_are_found_when_both_are_left_out(mutants: str) -> None:
    _hunt(mutants, CAUGHT_TOGETHER[mutants], MOST)


def test_each_mutant_is_caught_or_named_with_what_is_known_of_it() -> None:
    named = [*CAUGHT, *SILENT, *SILENT_GUARDS]
    assert sorted(named) == sorted(MUTANTS)
    assert len(set(named)) == len(named)
    assert set(CAUGHT_TOGETHER) == set(TOGETHER)
    assert all([*SILENT.values(), *SILENT_GUARDS.values()]), "with a reason"


def test_each_guard_of_the_store_is_dropped_by_a_mutant() -> None:
    dropped: set[str] = set()
    for mutant in MUTANTS:
        with planted(mutant):
            dropped |= WEAK.keys()
    assert dropped == guards.KEYS


def test_a_dropped_guard_comes_back() -> None:
    before = _statements()
    with planted("claim-state"):
        assert "1 = 1" in "".join(_statements())
    assert _statements() == before


def _statements() -> list[str]:
    of_tasks = (value for value in vars(tasks).values() if isinstance(value, sa.sql.ClauseElement))
    return [
        str(value.compile(dialect=sqlite.dialect())) for value in of_tasks if isinstance(value, sa.Executable)
    ]
