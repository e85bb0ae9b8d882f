"""Promises: of each state, of each removal, and of every way on from every state."""

from __future__ import annotations

from typing import Any

from tests.model import model_mutants
from tests.model.state import DATA, ENDED, Bound, Resource, State, Volume, born


def removal_error(bound: Bound, s: State, dm: int, thing: Resource | None, by: Any = ()) -> str:
    """Return how a removal breaks I5, or "": only the owner, under its token, removes what a live attempt uses."""
    row = s.row
    if thing is None or row.state != "RUNNING" or bound.daemon_of(row.node) != dm:
        return ""
    if thing[:2] != (row.attempt, row.origin):
        return ""  # a former run is dead for ever
    if isinstance(thing, Volume):
        return "I5 the volume of a live run was removed"
    if thing.state == "running":
        return "I5 a running container of a live attempt was removed"
    named = s.links[thing.link] == ("CONFIRMED", thing.by)
    if named and thing.exited:
        return "I5 a result that is not yet recorded was removed"
    owner = by and (by.delivery > born(thing.by) or (by.attempt, by.delivery) == row.token)
    # Only its creator could start it: what the creator has given up never runs.
    owner = owner or (by and thing.state in ("created", "unstartable") and by.delivery == born(thing.by))
    if named and not owner:
        return "I5 the container that the row names was removed by another than its owner"
    return ""


def is_dead(s: State, read: tuple[str, int, int], thing: Resource) -> bool:
    """Return whether the run is dead for ever: (attempt, origin) only grow, so a late removal harms nobody."""
    state, attempt, origin = read
    live = state == "RUNNING" or (
        state in ("PENDING", "SCHEDULED") and model_mutants.planted == "sweep-pending"
    )
    if model_mutants.planted == "sweep-lapsed" and s.lapsed():
        live = False
    same_origin = thing.origin == origin or model_mutants.planted == "sweep-attempt"
    return not (live and thing.attempt == attempt and same_origin)


def broken(bound: Bound, s: State) -> str:
    """Return the promise that this state breaks, or ""."""
    return _crashes_error(bound, s) or _runs_error(bound, s)


def _crashes_error(bound: Bound, s: State) -> str:
    count = s.row.crashes
    if count > bound.max_crashes:
        return "I6 crashes are not bounded"
    if count > s.quick:
        return "I6 more crashes were counted than followed each other quickly"
    if count > bound.faults - s.faults - s.soft:
        return "I6 more crashes were counted than nodes crashed"
    if s.row.refusals > bound.max_refusals:
        return "I6 the refusals of machines are not bounded"
    return ""


def _runs_error(bound: Bound, s: State) -> str:
    row = s.row
    runs = [(dm, box) for dm, d in enumerate(s.daemons, 1) for box in d.boxes if box.state == "running"]
    for j, (dm, box) in enumerate(runs):
        volume = s.volume(dm, box.attempt, box.origin)
        if box.link > 0 and (volume is None or volume.kind != DATA):
            return "I4 a later link runs on an empty volume"
        current = row.state == "RUNNING" and box[:2] == (row.attempt, row.origin)
        if row.state not in ENDED and not current and bound.living(s, dm):
            return "I3 a former run's container runs while the task goes on, although a LIVE node sits there"
        for other_dm, other in runs[j + 1 :]:
            if other.attempt == box.attempt and other_dm == dm:
                what = "link" if other.link == box.link else "attempt"
                return f"I3 two containers of one {what} run at once on one daemon"
            if other[:2] == box[:2]:
                return "I3 one run of a chain is on two daemons"
    return ""


def is_goal(s: State) -> bool:
    """Return whether the task has ended and nothing is left on any reachable daemon (I1, I5)."""
    held = s.row.node > 0 and s.row.state == "RUNNING" and not s.lapsed()
    if s.away and (len(s.daemons) == 1 or held):
        return True  # it waits for its Docker, as it should
    if s.row.state not in ENDED:
        return False
    first_answers = s.up and not s.away
    return not any(d.boxes or d.volumes for dm, d in enumerate(s.daemons, 1) if first_answers or dm != 1)
