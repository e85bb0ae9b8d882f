"""In which order a worker serves its queues on Redis (kombu: queue_order_strategy)."""

from __future__ import annotations

from collections.abc import Iterable


class OwnFirst:
    """The node's own queue first, since started chains go before new ones; the others in turn.

    kombu's `sorted` would starve later names; its `round_robin` would let a newcomer overtake a started chain.
    """

    def __init__(self, it: Iterable[str] | None = None) -> None:
        self.items: list[str] = list(it or ())

    def update(self, it: Iterable[str]) -> None:
        """The queues that are consumed now."""
        self.items[:] = it

    def consume(self, n: int) -> list[str]:
        """The first n, in the order in which to look."""
        items = self.items[:n]
        return [q for q in items if q.startswith("!")] + [q for q in items if not q.startswith("!")]

    def rotate(self, last_used: str) -> str:
        """What was just served goes to the end."""
        if last_used in self.items:
            self.items.remove(last_used)
            self.items.append(last_used)
        return last_used
