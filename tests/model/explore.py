"""Breadth-first search through every state of a bound, so that the first broken promise has a shortest story."""

from __future__ import annotations

import time
from array import array
from typing import Any, NamedTuple

from tests.model import model_mutants
from tests.model.link_steps import WorkerMoves
from tests.model.model_promises import broken, is_goal
from tests.model.moves import Step
from tests.model.outside_steps import WorldMoves
from tests.model.state import Bound, State, initial

GAVE_UP = "gave up"


class _Steps(WorkerMoves, WorldMoves):
    """Steps from one state, all of them."""

    def gather(self) -> list[Step]:
        s, bound = self.s, self.bound
        self.rows()
        for j in range(len(s.reconcilers)):
            self.restart(j)
        own_slot = len(bound.slots) == len(bound.nodes)
        for i, act in enumerate(s.slots):
            n = bound.slots[i]
            if s.nodes[n - 1].alive and (s.up or bound.nodes[n - 1] != 1):
                self.slot, self.node, self.dm, self.me = i, n, bound.nodes[n - 1], s.nodes[n - 1]
                self.who = f"worker {n}" if own_slot else f"worker {n} thread {i + 1}"
                if act:
                    self.act(act)
                else:
                    self.idle()
        for dm in range(1, len(s.daemons) + 1):
            inhabited = any(d == dm and n.alive for d, n in zip(bound.nodes, s.nodes, strict=True))
            if inhabited and (dm != 1 or (s.up and not s.away)):
                self.sweep(dm)
        self.world()
        self.machines()
        return self.out


class Result(NamedTuple):
    """Result of an exploration; `violation` is "" when every promise holds in every state."""

    bound: str
    states: int
    steps: int
    depth: int
    seconds: float
    violation: str
    story: tuple[str, ...]

    @property
    def gave_up(self) -> bool:
        """Return whether the exploration met its limit before it had seen all states."""
        return self.violation.startswith(GAVE_UP)


def steps_from(bound: Bound, s: State) -> list[Step]:
    """Return every step that may come next."""
    return _Steps(bound, s).gather()


def explore(bound: Bound, limit: int) -> Result:
    """Visit every state of the bound, up to `limit` of them."""
    return _Search(bound).run(limit)


class _Search:
    """States found so far, how each was reached, and the steps between them that are not faults."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.states = [canonical(bound, initial(bound))]
        self.index = {self.states[0]: 0}
        self.parent, self.depth = array("l", [0]), array("H", [0])
        self.source, self.target = array("I"), array("I")
        self.shared: dict[Any, Any] = {}
        self.began, self.steps = time.monotonic(), 0

    def run(self, limit: int) -> Result:
        """Explore until there is nothing new, a promise is broken, or the limit is met."""
        here = 0
        while here < len(self.states):
            for _, fault, following, error in steps_from(self.bound, self.states[here]):
                self.steps += 1
                reached = canonical(self.bound, following)
                there = self.index.get(reached)
                error = error or (broken(self.bound, reached) if there is None else "")
                if error:
                    return self._result(error, here, reached)
                if there is None:
                    there = self._keep(reached, here)
                    if there >= limit:
                        return self._result(f"{GAVE_UP} at {limit} states")
                if not fault and there != here:
                    self.source.append(here)
                    self.target.append(there)
            here += 1
        stuck = first_stuck([is_goal(s) for s in self.states], self.source, self.target)
        if stuck < 0:
            return self._result()
        return self._result("I1/I5 no clean end can be reached any more, even when faults stop", stuck)

    def _keep(self, s: State, parent: int) -> int:
        there = self.index[s] = len(self.states)
        # Equal parts are kept once: the memory is what bounds the bounds.
        self.states.append(State(*(self.shared.setdefault(part, part) for part in s)))
        self.parent.append(parent)
        self.depth.append(self.depth[parent] + 1)
        return there

    def _result(self, violation: str = "", end: int = 0, last: State | None = None) -> Result:
        path = [] if last is None else [last]
        while end > 0 and violation:
            path.append(self.states[end])
            end = self.parent[end]
        story = told(self.bound, path[::-1])
        seconds = time.monotonic() - self.began
        count = len(self.states)
        return Result(self.bound.name, count, self.steps, self.depth[-1], seconds, violation, story)


def canonical(bound: Bound, s: State) -> State:
    """Return the representative of all equivalent states: without dead messages, reconcilers and twins sorted."""
    s = _without_late_looks(_without_stale_messages(bound, s))
    readers = s.reconcilers
    if len(readers) > 1 and readers[0] > readers[1]:
        s = s._replace(reconcilers=(readers[1], readers[0]))
    if bound.slots[:2] == (1, 2) and bound.nodes[:2] == (1, 1):
        first = (s.slots[0], s.nodes[0], s.row.node == 1)
        if first < (s.slots[1], s.nodes[1], s.row.node == 2):
            return _with_twins_swapped(s)
    return s


def _without_stale_messages(bound: Bound, s: State) -> State:
    asked = ("claim", "link", "mark", "restart", "takeover")
    if not s.messages or bound.consume or model_mutants.planted.split("-")[0] in asked:
        return s
    row = s.row
    wanted = frozenset(
        m
        for m in s.messages
        if m[:2] == row.token
        and (
            row.state in ("PENDING", "SCHEDULED")
            if m[2] == 0
            else row.state == "RUNNING" and s.links[m[2]][0] == "WAITING"
        )
    )
    return s if wanted == s.messages else s._replace(messages=wanted)


def _without_late_looks(s: State) -> State:
    """Return the state without looks, since the next lapse has a higher number than any of them."""
    if not any(n.looked for n in s.nodes) or model_mutants.planted == "lapse-sequence":
        return s
    if s.row.state == "RUNNING" and s.lapsed():
        return s
    return s._replace(nodes=tuple(n._replace(looked=False) for n in s.nodes))


def _with_twins_swapped(s: State) -> State:
    other = {1: 2, 2: 1}
    node = s.row.node
    return s._replace(
        slots=(s.slots[1], s.slots[0], *s.slots[2:]),
        nodes=(s.nodes[1], s.nodes[0], *s.nodes[2:]),
        row=s.row._replace(node=other.get(node, node)),
        messages=frozenset((*m[:3], other.get(m[3], m[3])) for m in s.messages),
    )


def told(bound: Bound, path: list[State]) -> tuple[str, ...]:
    """Return a path in words, walked again without the symmetry, so that worker 1 stays worker 1."""
    s, lines = initial(bound), list[str]()
    for want in path:
        step = next(step for step in steps_from(bound, s) if canonical(bound, step[2]) == want)
        s = _without_late_looks(step[2])
        lines.append(step[0])
    return tuple(lines)


def first_stuck(good: list[bool], source: array[int], target: array[int]) -> int:
    """Return the first state that cannot reach a good one without further faults, or -1."""
    back: dict[int, list[int]] = {}
    for u, v in zip(source, target, strict=True):
        back.setdefault(v, []).append(u)
    todo = [v for v, ok in enumerate(good) if ok]
    while todo:
        for u in back.get(todo.pop(), ()):
            if not good[u]:
                good[u] = True
                todo.append(u)
    return good.index(False) if False in good else -1
