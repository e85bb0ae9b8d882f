"""Order in which several processes run the tests."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support.order import BY_FILE, BY_FOLDER, LONG, dealt

QUICK = "tests/unit/"
KINDS = [LONG[0], f"{BY_FILE[0]}one.py::", f"{BY_FILE[0]}two.py::", BY_FOLDER, QUICK]


def parts(order: list[str], processes: int) -> list[list[str]]:
    """Split the order as xdist's worksteal does, one part per process."""
    shares = []
    for left in range(processes, 0, -1):
        shares.append(order[: len(order) // left])
        order = order[len(order) // left :]
    return shares


@given(st.lists(st.sampled_from(KINDS)), st.integers(1, 9))
def test_no_item_is_lost_and_each_file_keeps_its_order(kinds: list[str], processes: int) -> None:
    items = [f"{kind}{number}" for number, kind in enumerate(kinds)]
    order = dealt(items, processes, str)
    assert sorted(order) == sorted(items)
    for kind in KINDS[1:]:
        assert [i for i in order if i.startswith(kind)] == [i for i in items if i.startswith(kind)]


def test_each_process_begins_with_long_tests_and_no_file_is_split() -> None:
    items = [f"{QUICK}{number}" for number in range(90)]
    items += [f"{kind}{number}" for kind in KINDS[1:4] for number in range(9)]
    items += [f"{LONG[0]}{number}" for number in range(8)]
    shares = parts(dealt(items, 4, str), 4)
    for share in shares:
        assert [item.startswith(LONG) for item in share] == [True] * 2 + [False] * (len(share) - 2)
        quick = [item.startswith(QUICK) for item in share]
        assert quick == sorted(quick), "quick tests come last"
    owners = Counter(
        kind for kind in KINDS[1:4] for share in shares if any(i.startswith(kind) for i in share)
    )
    assert set(owners.values()) == {1}
