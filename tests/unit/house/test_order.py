"""The order in which several processes take the tests."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support.order import BY_FILE, BY_FOLDER, LONG, dealt

QUICK = "tests/unit/"
KINDS = [LONG[0], f"{BY_FILE[0]}one.py::", f"{BY_FILE[0]}two.py::", BY_FOLDER, QUICK]


def parts(order: list[str], processes: int) -> list[list[str]]:
    """What worksteal gives to each process."""
    found = []
    for left in range(processes, 0, -1):
        found.append(order[: len(order) // left])
        order = order[len(order) // left :]
    return found


@given(st.lists(st.sampled_from(KINDS)), st.integers(1, 9))
def test_none_is_lost_and_none_goes_before_another_of_its_file(kinds: list[str], processes: int) -> None:
    items = [f"{kind}{number}" for number, kind in enumerate(kinds)]
    order = dealt(items, processes, str)
    assert sorted(order) == sorted(items)
    for kind in KINDS[1:]:
        assert [i for i in order if i.startswith(kind)] == [i for i in items if i.startswith(kind)]


def test_each_process_begins_with_its_share_of_the_long_ones_and_no_file_is_torn() -> None:
    items = [f"{QUICK}{number}" for number in range(90)]
    items += [f"{kind}{number}" for kind in KINDS[1:4] for number in range(9)]
    items += [f"{LONG[0]}{number}" for number in range(8)]
    shares = parts(dealt(items, 4, str), 4)
    for share in shares:
        assert [item.startswith(LONG) for item in share] == [True] * 2 + [False] * (len(share) - 2)
        quick = [item.startswith(QUICK) for item in share]
        assert quick == sorted(quick), "what is quick comes last"
    sandboxes = Counter(
        kind for kind in KINDS[1:4] for share in shares if any(i.startswith(kind) for i in share)
    )
    assert set(sandboxes.values()) == {1}
