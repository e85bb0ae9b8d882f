"""How far a node says it has looked: not past what it left to others."""

from __future__ import annotations

import pytest

from engine.worker.node.adoption import Taken


@pytest.mark.parametrize(
    ("left", "looked"), [((), 7), ((7,), 6), ((5, 7), 4), ((9,), 7)], ids=["none", "last", "two", "later"]
)
def test_a_node_has_not_looked_past_what_it_left(left: tuple[int, ...], looked: int) -> None:
    assert Taken(True, left).looked(7) == looked
