"""Base of all steps: the state from which they start, the thread that takes one, and the list of results."""

from __future__ import annotations

from typing import Any

from tests.model import model_mutants
from tests.model.model_promises import removal_error
from tests.model.search import Step
from tests.model.state import ENDED, Act, Bound, Node, Resource, Row, State, put, swap


class Moves:
    """Steps from one state, collected in `out`."""

    #: The thread whose turn it is: its place among the slots, its node, that node's daemon and row.
    slot: int
    node: int
    dm: int
    me: Node
    who: str

    def __init__(self, bound: Bound, s: State) -> None:
        self.bound, self.s, self.row = bound, s, s.row
        self.out: list[Step] = []

    def may_fault(self, kind: str) -> bool:
        """Return whether a fault of this kind may happen now."""
        return self.s.faults > 0 and self.row.state not in ENDED and kind in self.bound.kinds

    def add(self, label: str, error: str = "", fault: bool = False, **changes: Any) -> None:
        """Add a step that belongs to no thread."""
        self.out.append((label, fault, self.s._replace(**changes), error))

    def to(self, label: str, then: Act | tuple[()], error: str = "", **changes: Any) -> None:
        """Add a step of the current thread, and its next act; () means that it lets go."""
        slots = put(self.s.slots, self.slot, then)
        self.out.append((f"{self.who} {label}", False, self.s._replace(slots=slots, **changes), error))

    def remove(self, thing: Resource | None, then: Act | tuple[()], by: Act | tuple[()] = ()) -> None:
        """Add a removal by the current thread; None: refused (409, it runs) or not there (404)."""
        if thing is None:
            return self.to("has nothing to remove: 404 or 409", then)
        error = removal_error(self.bound, self.s, self.dm, thing, by)
        return self.to(f"removes {tuple(thing)}", then, error, daemons=swap(self.s.daemons, self.dm, thing))

    def handed(self, **changes: Any) -> list[tuple[Row, dict[str, int]]]:
        """Return the rows after take_over or restart: if a crash counts, also one after a long hold."""
        s = self.s
        crash = s.owner() == "LAPSED" or model_mutants.planted == "crash-left"
        holds = (False, True) if crash and s.long_holds > 0 < s.row.crashes else (False,)
        found = []
        for long in holds:
            row, quick = hand_over(self.bound, s, crash, long, **changes)
            found.append((row, {"quick": quick, "long_holds": s.long_holds - long}))
        return found


def hand_over(bound: Bound, s: State, crash: bool, long: bool = False, **changes: Any) -> tuple[Row, int]:
    """Return the row under a new delivery, or FAILED as a poison pill; and a ghost of its crashes."""
    row, quick, count = s.row, s.quick, s.row.crashes
    if crash:
        quick = 1 if long else quick + 1
        count = 1 if long and model_mutants.planted != "crash-no-reset" else count + 1
        if count >= bound.max_crashes and model_mutants.planted != "no-bound":
            return row._replace(state="FAILED", crashes=count), quick
    values = {"delivery": row.delivery + 1, "crashes": count, "gone": ""} | changes
    return row._replace(**values), quick
