"""`celery -A engine inspect ferryman`: what Celery's own `inspect` cannot know of a node."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command

from engine.worker.here import get_here


@inspect_command()
def ferryman(state: Any) -> dict[str, Any]:
    """The node behind this worker: its id and state, links in hand, adopted ones, claims that were lost."""
    here = get_here()
    return {
        "node": here.node_id,
        "installation": here.site.installation,
        "live": here.live,
        "queues": list(here.queues),
        "slots": here.slots,
        "in_hand": sorted(hand.token.task_id for hand in here.hands.all()),
        "adopted": here.window.adopted if here.window is not None else 0,
        "claims_lost": here.claims_lost,
    }
