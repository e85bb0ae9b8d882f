"""What every fault must leave: each task ended once, as if nothing had been, and nothing behind."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.model.states import TaskState
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until


def completed_once(fleet: Fleet, ids: Sequence[str], seconds: float, result: str | None = None) -> float:
    """Wait until all are COMPLETED at their first attempt, with one end each; the seconds that took."""
    began = time.monotonic()
    ended = fleet.ended(ids, seconds)
    took = time.monotonic() - began
    for task in ended:
        said = "\n".join(f"{e.kind} {e.from_state}->{e.to_state} {e.reason}" for e in fleet.events(task.id))
        assert task.state is TaskState.COMPLETED, f"{task.error}\n{said}"
        assert task.attempt == 1, f"a fault of a server uses up no retry\n{said}"
        assert result is None or task.result == result, said
        ends = [e for e in fleet.events(task.id) if e.kind == "task" and e.to_state == TaskState.COMPLETED]
        assert len(ends) == 1, said
    wait_until(lambda: not fleet.left_over(), 30)
    print(f"all ended after {took:.1f} s")
    return took
