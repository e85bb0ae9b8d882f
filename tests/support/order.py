"""Order of tests for several processes: the longest tests first, so that none of them begins last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

#: Tests of five seconds to a minute that share nothing within their file: dealt one by one.
LONG = (
    "tests/chaos/",
    "tests/simulator/",
    "tests/integration/worker/",
    "tests/integration/whole/test_demo.py",
)
#: Tests of up to a few seconds whose file shares a browser or a stand-alone: dealt by file, or by folder.
BY_FILE = (
    "tests/integration/standalone/",
    "tests/integration/whole/",
    "tests/integration/runtime/",
    "tests/browser/",
)
BY_FOLDER = "tests/integration/cli/"


def dealt(items: Sequence[Item], processes: int, name: Callable[[Item], str]) -> list[Item]:
    """Return the items ordered so that each process begins with its share of the longer tests.

    pytest-xdist's worksteal gives each of n processes the n-th part of the list, and a process that is done takes
    from the end of another's part.
    """
    groups: dict[str, list[Item]] = {}
    # The sort is stable: within their kind items stay in order.
    for item in sorted(items, key=lambda item: not name(item).startswith(LONG)):
        groups.setdefault(_group(name(item)), []).append(item)
    short = groups.pop("", [])
    shares: list[list[Item]] = [[] for _ in range(processes)]
    for group in groups.values():
        min(shares, key=len).extend(group)
    ordered: list[Item] = []
    for number, share in enumerate(shares):
        room = (len(items) - len(ordered)) // (processes - number) - len(share)
        ordered += [*share, *short[: max(0, room)]]
        short = short[max(0, room) :]
    return ordered + short


def _group(name: str) -> str:
    """Return the name of the group that a test is dealt with; "" for a short test, which fills up the shares."""
    if name.startswith(LONG):
        return name
    if name.startswith(BY_FOLDER):
        return BY_FOLDER
    return name.split("::")[0] if name.startswith(BY_FILE) else ""
