"""The checker can fail: with one guard or rule left out, some seed breaks a promise.

CAUGHT names the seed that did when it was last hunted, and then others are tried: a change of the code or of the
simulator tells other stories. `python -m tests.simulator 0-999 --mutants NAME` hunts.
"""

from __future__ import annotations

from itertools import chain

import pytest

from tests.simulator.hunts import live
from tests.simulator.mutants import MUTANTS, SILENT, TOGETHER, UNSEEN

CAUGHT = {
    "mark-state": 0,
    "mark-token": 7,
    "resend-state": 0,
    "resend-token": 67,
    "claim-token": 0,
    "claim-state": 0,
    "claim-own_live": 2,
    "begin-link-token": 45,
    "confirm-token": 15,
    "confirm-owner": 64,
    "confirm-ignored": 4,
    "finish-token": 8,
    "give-back-token": 37,
    "cancel-state": 20,
    "beat-state": 8,
    "live-state": 1,
    "takeover-own_live": 2,
    "takeover-delivery": 23,
    "takeover-token": 161,
    "takeover-found": 91,
    "self-takeover-own": 16,
    "restart-looked": 0,
    "restart-joining": 2,
    "restart-delivery": 2,
    "restart-uses-retry": 2,
    "timeout-lapse": 1,
    "timeout-looked": 1,
    "timeout-early": 0,
    "no-clock": 0,
    "resume-anew": 1,
    "leave-gives-all": 79,
    "crash-self": 6,
    "crash-left": 1,
    "lapse-sequence": 4,
    "resume-last": 1,
    "find-no-created": 20,
    "find-no-exited": 19,
    "find-no-volume": 10,
    "join-no-stale": 127,
    "join-no-adopt": 1,
    "join-blind": 9,
    "looked-first": 17,
    "looked-late": 17,
    "same-node-id": 0,
    "start-exited": 1,
    "start-created": 148,
    "volume-unchecked": 110,
    "sweep-rows-first": 0,
    "remove-when-refused": 8,
    "no-tie-up": 6,
    "no-resend": 1,
    "no-restart": 0,
    "no-lapse": 4,
}
#: With two guards left out, of which either would do.
CAUGHT_TOGETHER = {"clear-nothing+join-no-stale": 93}
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
    named = [*CAUGHT, *SILENT, *UNSEEN]
    assert sorted(named) == sorted(MUTANTS)
    assert len(set(named)) == len(named)
    assert set(CAUGHT_TOGETHER) == set(TOGETHER)
