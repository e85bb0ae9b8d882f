"""Order in which a worker serves its queues on Redis (kombu: queue_order_strategy)."""

from __future__ import annotations

from collections.abc import Iterable


class OwnQueueFirst:
    """Order with the node's own queue first, because started chains go before new ones; the others in turn.

    kombu's `sorted` would starve later names; its `round_robin` would let a newcomer overtake a started chain.
    """

    def __init__(self, it: Iterable[str] | None = None) -> None:
        self.items: list[str] = list(it or ())

    def update(self, it: Iterable[str]) -> None:
        """Replace the queues that are consumed."""
        self.items[:] = it

    def consume(self, n: int) -> list[str]:
        """Return the first n queues, in the order in which to look."""
        items = self.items[:n]
        return [q for q in items if q.startswith("!")] + [q for q in items if not q.startswith("!")]

    def rotate(self, last_used: str) -> str:
        """Move the queue that was just served to the end."""
        if last_used in self.items:
            self.items.remove(last_used)
            self.items.append(last_used)
        return last_used
