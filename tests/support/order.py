"""Which tests go first when several processes share them: those that take longest, so that none of them begins last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

#: Five seconds to a minute each, and they share nothing that a file makes for itself: dealt one by one.
LONG = (
    "tests/chaos/",
    "tests/simulator/",
    "tests/integration/worker/",
    "tests/integration/whole/test_demo.py",
)
#: Up to a few seconds each, and a file's share a browser or a stand-alone: dealt by file, or by the folder named.
BY_FILE = (
    "tests/integration/standalone/",
    "tests/integration/whole/",
    "tests/integration/runtime/",
    "tests/browser/",
)
BY_FOLDER = "tests/integration/cli/"


def dealt(items: Sequence[Item], processes: int, name: Callable[[Item], str]) -> list[Item]:
    """The items so that each process begins with its share of the longer ones.

    pytest-xdist's worksteal gives each of n processes the n-th part in a row, and lets who is done take from the
    end of another's.
    """
    groups: dict[str, list[Item]] = {}
    # Stable: within their kind they stay in order.
    for item in sorted(items, key=lambda item: not name(item).startswith(LONG)):
        groups.setdefault(_group(name(item)), []).append(item)
    short = groups.pop("", [])
    shares: list[list[Item]] = [[] for _ in range(processes)]
    for group in groups.values():
        min(shares, key=len).extend(group)
    found: list[Item] = []
    for number, share in enumerate(shares):
        room = (len(items) - len(found)) // (processes - number) - len(share)
        found += [*share, *short[: max(0, room)]]
        short = short[max(0, room) :]
    return found + short


def _group(name: str) -> str:
    """What is dealt together with it; "" when it fills up what is left."""
    if name.startswith(LONG):
        return name
    if name.startswith(BY_FOLDER):
        return BY_FOLDER
    return name.split("::")[0] if name.startswith(BY_FILE) else ""
