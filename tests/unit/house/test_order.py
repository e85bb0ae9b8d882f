"""The order in which several processes take the tests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.order import LONG, dealt


@given(st.lists(st.sampled_from([LONG[0], "tests/unit/"])), st.integers(1, 9))
def test_none_is_lost_and_each_process_begins_with_as_many_long_ones(
    kinds: list[str], processes: int
) -> None:
    items = [f"{kind}{number}" for number, kind in enumerate(kinds)]
    order = dealt(items, processes, str)
    assert sorted(order) == sorted(items)
    shares, rest = [], order
    for left in range(processes, 0, -1):
        part, rest = rest[: len(rest) // left], rest[len(rest) // left :]
        long = [item.startswith(LONG) for item in part]
        assert long == sorted(long, reverse=True), "the long ones first"
        shares.append(sum(long))
    assert max(shares) - min(shares) <= 1
    assert [item for item in order if not item.startswith(LONG)] == [
        i for i in items if not i.startswith(LONG)
    ]
