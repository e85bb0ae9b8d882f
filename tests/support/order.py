"""Which tests go first when several processes share them: those that take longest, so that none of them begins last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

#: Folders whose tests take from five seconds to a minute each, and share nothing that a file makes for itself.
LONG = (
    "tests/chaos/",
    "tests/simulator/",
    "tests/integration/worker/",
    "tests/integration/whole/test_demo.py",
)


def dealt(items: Sequence[Item], processes: int, name: Callable[[Item], str]) -> list[Item]:
    """The items so that each process begins with its share of the long ones.

    pytest-xdist's worksteal gives each of n processes the n-th part in a row, and lets who is done take from the
    end of another's.
    """
    long = [item for item in items if name(item).startswith(LONG)]
    short = [item for item in items if not name(item).startswith(LONG)]
    found: list[Item] = []
    for left in range(processes, 0, -1):
        size = (len(items) - len(found)) // left
        # The last parts are the larger ones by one, when it does not come out even: so are these shares.
        mine = long[left - 1 :: processes]
        others = size - len(mine)
        found += [*mine, *short[:others]]
        short = short[others:]
    return found
