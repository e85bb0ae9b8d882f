"""Protocol model in a bound that takes seconds; `make model` explores the others."""

from __future__ import annotations

import pytest

from tests.model.__main__ import MODEL
from tests.model.command import check

#: mutant: the bound that catches it, and the promise it breaks.
CAUGHT = {
    "mark-first": ("outbox", "I1"),
    "claim-scheduled-only": ("outbox", "I1"),
    "gone-is-failed": ("byhand", "I6"),
    "no-volume-check": ("byhand", "I4"),
    "no-self-takeover": ("byhand", "I1"),
    "give-back-state": ("leaves", "I2"),
    "give-back-token": ("leaves", "I2"),
    "refused-unlooked": ("refuse", "I7"),
    "refused-force": ("refuse", "I5"),
    "refused-uses-retry": ("refuse", "I6"),
    "refused-no-bound": ("refuse2", "I6"),
}


def test_every_promise_holds_in_every_state_of_the_smallest_bounds() -> None:
    for bound, states in (("outbox", 29), ("byhand", 961), ("links3", 3469)):
        found = check(MODEL, "", bound, 10_000)
        assert (found.violation, found.states) == ("", states), found.story


@pytest.mark.parametrize("mutant", CAUGHT)
def test_a_planted_fault_is_found_with_its_story(mutant: str) -> None:
    bound, promise = CAUGHT[mutant]
    found = check(MODEL, mutant, bound, 10_000)
    assert found.violation.startswith(promise), found
    assert found.story[0] == "api: submit (201)"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bound", ["leaves", "cancel", "retry", "slots", "drain", "refuse", "refuse2"])
def test_every_promise_holds_in_every_state_of_a_larger_bound(bound: str) -> None:
    found = check(MODEL, "", bound, 1_000_000)
    assert found.violation == "", found.story
