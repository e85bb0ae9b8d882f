"""World of a bound: its steps, and which of its states are equivalent."""

from __future__ import annotations

from tests.model import model_mutants
from tests.model.link_steps import WorkerMoves
from tests.model.model_promises import broken, is_goal
from tests.model.outside_steps import WorldMoves
from tests.model.search import Result, Search, Step
from tests.model.state import Bound, State, initial


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


def steps_from(bound: Bound, s: State) -> list[Step]:
    """Return every step that may come next."""
    return _Steps(bound, s).gather()


class _World:
    """One bound, as the search sees it."""

    def __init__(self, bound: Bound) -> None:
        self.bound, self.name = bound, bound.name

    def initial(self) -> State:
        return initial(self.bound)

    def steps(self, s: State) -> list[Step]:
        return steps_from(self.bound, s)

    def canonical(self, s: State) -> State:
        return canonical(self.bound, s)

    def relaxed(self, s: State) -> State:
        return _without_late_looks(s)

    def broken(self, s: State) -> str:
        return broken(self.bound, s)

    def is_goal(self, s: State) -> bool:
        return is_goal(s)

    def told(self, label: str) -> str:
        return label


def explore(bound: Bound, limit: int) -> Result:
    """Visit every state of the bound, up to `limit` of them."""
    return Search(_World(bound), "I1/I5 no clean end can be reached any more, even when faults stop").run(
        limit
    )


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
