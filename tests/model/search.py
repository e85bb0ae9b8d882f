"""Breadth-first search through every state of a world, so that the first broken promise has a shortest story."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

GAVE_UP = "gave up"

#: A step: its label, whether it is a fault, the next state, and the promise that the step broke by itself, or "".
Step = tuple[Any, bool, Any, str]


class World(Protocol):
    """Small world: its states, and the steps between them."""

    name: str

    def initial(self) -> Any:
        """Return the first state."""

    def steps(self, s: Any) -> Iterable[Step]:
        """Return every step that may come next."""

    def canonical(self, s: Any) -> Any:
        """Return the representative of all states that equal this one."""

    def relaxed(self, s: Any) -> Any:
        """Return the state from which a story goes on."""

    def broken(self, s: Any) -> str:
        """Return the promise that the state breaks, or ""."""

    def is_goal(self, s: Any) -> bool:
        """Return whether everything has come to a clean end."""

    def told(self, label: Any) -> str:
        """Return a step's label in words."""


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


class Search:
    """States found so far, how each was reached, and the steps between them that are not faults."""

    def __init__(self, world: World, stuck: str) -> None:
        self.world = world
        #: The promise that is broken when no clean end can be reached.
        self.stuck = stuck
        self.states = [world.canonical(world.initial())]
        self.index = {self.states[0]: 0}
        self.parent, self.depth = array("l", [0]), array("H", [0])
        self.source, self.target = array("I"), array("I")
        self.shared: dict[Any, Any] = {}
        self.began, self.steps = time.monotonic(), 0

    def run(self, limit: int) -> Result:
        """Explore until there is nothing new, a promise is broken, or the limit is met."""
        here = 0
        while here < len(self.states):
            for step in self.world.steps(self.states[here]):
                _, fault, following, error = step
                self.steps += 1
                if error:
                    return self._result(error, here, step)
                reached = self.world.canonical(following)
                there = self.index.get(reached)
                if there is None:
                    error = self.world.broken(reached)
                    there = self._keep(reached, here)
                if error:
                    return self._result(error, there)
                if there >= limit:
                    return self._result(f"{GAVE_UP} at {limit} states")
                if not fault and there != here:
                    self.source.append(here)
                    self.target.append(there)
            here += 1
        stuck = first_stuck([self.world.is_goal(s) for s in self.states], self.source, self.target)
        return self._result() if stuck < 0 else self._result(self.stuck, stuck)

    def _keep(self, s: Any, parent: int) -> int:
        there = self.index[s] = len(self.states)
        # Equal parts are kept once: the memory is what bounds the bounds.
        self.states.append(type(s)(*(self.shared.setdefault(part, part) for part in s)))
        self.parent.append(parent)
        self.depth.append(self.depth[parent] + 1)
        return there

    def _result(self, violation: str = "", end: int = 0, last: Step | None = None) -> Result:
        path = list[Any]()
        while end > 0 and violation:
            path.append(self.states[end])
            end = self.parent[end]
        story = told(self.world, path[::-1], last)
        seconds = time.monotonic() - self.began
        count = len(self.states)
        return Result(self.world.name, count, self.steps, self.depth[-1], seconds, violation, story)


def told(world: World, path: list[Any], last: Step | None = None) -> tuple[str, ...]:
    """Return a path in words, walked again without the symmetry, so that worker 1 stays worker 1.

    `last` is a step that broke a promise by itself.
    """
    s, lines = world.initial(), list[str]()
    goals = [(want, "") for want in path]
    if last:
        goals.append((world.canonical(last[2]), last[3]))
    for want, error in goals:
        steps = (step for step in world.steps(s) if step[3] == error)
        step = next(step for step in steps if world.canonical(step[2]) == want)
        s = world.relaxed(step[2])
        lines.append(world.told(step[0]))
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
