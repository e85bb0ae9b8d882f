"""The lapse number up to which a node has looked: not past a task that it left to others."""

from __future__ import annotations

import pytest

from engine.worker.node.adoption import TakeOvers


@pytest.mark.parametrize(
    ("deferred", "looked"),
    [((), 7), ((7,), 6), ((5, 7), 4), ((9,), 7)],
    ids=["none", "last", "two", "later"],
)
def test_a_node_has_not_looked_past_a_deferred_task(deferred: tuple[int, ...], looked: int) -> None:
    assert TakeOvers(True, deferred).looked(7) == looked
