"""World of a bound: the first state, its steps, and their words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.model.tree import After, Course, Phase
from tests.model.search import Result, Search, Step
from tests.model.workflow import workflow_promises, world_steps
from tests.model.workflow.job_shapes import Plan
from tests.model.workflow.transaction import Transaction
from tests.model.workflow.tree_rows import Bound, State, told

_WORDS = {
    "claim": "a worker claims",
    "lose": "a worker is lost with",
    "finish": "a worker ends",
    "reads the counters": "a worker reads the counters above",
    "cancel_task": "somebody cancels task",
    "cancel_job": "somebody cancels job",
    "restart_job": "somebody restarts job",
    "reads": "a stepper reads for",
    "dies": "a stepper dies before",
}


class _World:
    """One bound, as the search sees it."""

    def __init__(self, bound: Bound) -> None:
        self.bound, self.name, self.plan = bound, bound.name, Plan(bound.shape)

    def initial(self) -> State:
        bound, shape = self.bound, self.bound.shape
        limits = (bound.fails, bound.cancels, bound.restarts, bound.kills)
        empty = State((), (), frozenset(), ((),) * bound.steppers, *limits)
        submit = Transaction(self.plan, empty)
        course = Course("J", counts=shape.counts, has_output=shape.has_output)
        submit.jobs["J"] = course
        submit.follow("J", After(course, (Phase.TASKS, 1)))
        return submit.to_state()

    def steps(self, s: State) -> Iterator[Step]:
        return world_steps.steps_from(self.plan, s)

    def canonical(self, s: State) -> State:
        return s

    def relaxed(self, s: State) -> State:
        return s

    def broken(self, s: State) -> str:
        return workflow_promises.broken(self.bound, self.plan, s)

    def is_goal(self, s: State) -> bool:
        return workflow_promises.is_goal(s)

    def told(self, label: tuple[str, tuple[Any, ...]]) -> str:
        verb, arguments = label
        words = [_WORDS.get(verb, f"a stepper writes {verb}")]
        if verb in ("finish", "reads the counters"):
            words += [told(arguments[0][0]), *map(str, arguments[1:])]
        else:
            words += map(told, arguments)
        return " ".join(word for word in words if word)


def explore(bound: Bound, limit: int) -> Result:
    """Visit every state of the bound, up to `limit` of them."""
    return Search(_World(bound), "J1 no end can be reached any more, even when faults stop").run(limit)
