"""Model of workflows in bounds that take seconds; `make model` explores the others."""

from __future__ import annotations

import pytest

from engine.model import tree
from tests.model.command import check
from tests.model.workflow import workflow_mutants
from tests.model.workflow.__main__ import MODEL

#: mutant: the bound that catches it, and the promise it breaks.
CAUGHT = {
    "open-state": ("none", "J14"),
    "claim-closing": ("wrong", "J4"),
    "finish-token": ("none", "J8"),
    "fail-at-once": ("wrong", "J6"),
    "verdict-last": ("wrong", "J9"),
    "close-todo": ("wrong", "J1"),
    "phases-skipped": ("wrong", "J11"),
    "expand-room": ("loop", "J3"),
    "advance-unlocked": ("loop", "J5"),
    "restart-anew": ("loop", "J2"),
    "restart-skips": ("unread", "J9"),
    "conclude-round": ("wrongout", "J12"),
    "outcome-lost": ("lenient", "J9"),
    "prior-nearest": ("again", "J7"),
    "prior-unopened": ("again", "J7"),
}


def test_every_promise_holds_in_every_state_of_the_smallest_bounds() -> None:
    sizes = {"none": 160, "wrong": 470, "wrongout": 929, "unread": 391, "lenient": 1226, "againjob": 891}
    for bound, states in sizes.items():
        found = check(MODEL, "", bound, 10_000)
        assert (found.violation, found.states) == ("", states), found.story


@pytest.mark.parametrize("mutant", CAUGHT)
def test_a_planted_fault_is_found_with_its_story(mutant: str) -> None:
    bound, promise = CAUGHT[mutant]
    found = check(MODEL, mutant, bound, 10_000)
    assert found.violation.startswith(promise), found
    assert found.story or promise == "J1"


def test_a_planted_fault_does_not_stay_in_the_code() -> None:
    before = dict(vars(tree))
    workflow_mutants.plant("keep-failed")
    assert tree.is_kept is not before["is_kept"]
    workflow_mutants.plant("")
    assert dict(vars(tree)) == before


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bound", ["loop", "twins", "each2", "nested", "subjob", "finally"])
def test_every_promise_holds_in_every_state_of_a_larger_bound(bound: str) -> None:
    found = check(MODEL, "", bound, 1_000_000)
    assert found.violation == "", found.story
