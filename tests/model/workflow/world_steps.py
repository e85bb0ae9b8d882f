"""Steps of workers, people and faults; and the list of all steps that may come next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.model.states import TaskState
from engine.model.tree import Phase
from tests.model.search import Step
from tests.model.workflow import workflow_mutants as mutants
from tests.model.workflow.job_shapes import Key, Plan
from tests.model.workflow.stepper_steps import StepperSteps
from tests.model.workflow.tree_rows import BAD, ENDED, BrokenPromise, State, hold

#: Whether the step is a fault or a whim of a person, its verb and arguments, and what else changes.
Move = tuple[bool, str, tuple[Any, ...], dict[str, Any]]


class WorldSteps(StepperSteps):
    """Transactions of workers."""

    def claim(self, key: Key) -> None:
        """Claim a waiting task."""
        hold(not self.is_closed(key), "J4 claim of", key, "below a verdict or an end")
        row = self.tasks[key]
        self.set_task(key, state=TaskState.RUNNING)
        self.threads |= {(key, row.attempt, row.delivery)}

    def lose(self, key: Key) -> None:
        """Give up the worker of a running task, whose thread goes on."""
        self.set_task(key, state=TaskState.PENDING, delivery=self.tasks[key].delivery + 1)

    def finish(self, thread: tuple[Any, ...], state: TaskState) -> None:
        """End an attempt; refused unless the thread's token is the row's."""
        key, attempt, delivery, *seen = thread
        self.threads -= {thread}
        self.fails -= state is TaskState.FAILED
        row = self.tasks[key]
        is_current = (row.state, row.attempt, row.delivery) == (TaskState.RUNNING, attempt, delivery)
        if not is_current and mutants.planted != "finish-token":
            return
        # A retry asks nothing of the tasks above: the claim does.
        if state is TaskState.FAILED and attempt <= self.node(key).retries:
            self.set_task(key, state=TaskState.PENDING, attempt=attempt + 1, delivery=1)
            return
        if seen:
            self.set_task(row.parent, scope=seen[0])
        self.end_task(key, state)


def moves(plan: Plan, s: State) -> Iterator[Move]:
    """Yield every move that may come next."""
    look = WorldSteps(plan, s)
    yield from _of_workers(look)
    yield from _of_steppers(look)
    yield from _of_people(look)


def _of_workers(look: WorldSteps) -> Iterator[Move]:
    s = look.s
    for key, row in s.tasks:
        if row.state is TaskState.PENDING:
            only_nearest = mutants.planted == "claim-above"
            if mutants.planted == "claim-closing" or not look.is_closed(key, only_nearest=only_nearest):
                yield False, "claim", (key,), {}
        elif row.state is TaskState.RUNNING and s.kills and row.scope is None:
            yield True, "lose", (key,), {"kills": s.kills - 1}
    for thread in s.threads:
        above = look.tasks[thread[0]].parent
        if mutants.planted == "advance-unlocked" and above and len(thread) == 3:
            seen = (*thread, look.scope(above))
            yield False, "reads the counters", (thread,), {"threads": s.threads - {thread} | {seen}}
            continue
        yield False, "finish", (thread, TaskState.COMPLETED), {}
        if s.fails:
            yield True, "finish", (thread, TaskState.FAILED), {}


def _of_steppers(look: WorldSteps) -> Iterator[Move]:
    s = look.s
    for i, held in enumerate(s.steppers):
        rest = s.steppers[:i] + s.steppers[i + 1 :]
        if held and held not in s.steppers[:i]:
            yield False, held[0], held[1:], {"steppers": rest}
            yield True, "dies", held, {"steppers": tuple(sorted((*rest, ())))}
        elif not held and i == 0:  # the idle ones stand first, and are alike
            for step in look.due():
                yield False, "reads", step, {"steppers": tuple(sorted((*rest, step)))}


def _of_people(look: WorldSteps) -> Iterator[Move]:
    s = look.s
    if s.cancels:
        spent = {"cancels": s.cancels - 1}
        for key, row in s.tasks:
            if row.state not in ENDED and key[1] == Phase.TASKS:
                yield True, "cancel_task", (key,), spent
        for name, course in s.jobs:
            if course.state not in ENDED and (name == "J" or course.phase is Phase.TASKS):
                yield True, "cancel_job", (name,), spent
    root = look.jobs["J"]
    if s.restarts and (root.state in BAD or (mutants.planted == "restart-open" and root.verdict)):
        yield True, "restart_job", ("J",), {"restarts": s.restarts - 1}


#: Moves that are no transaction: they change only what `moves` says.
_WITHOUT_ROWS = ("reads", "dies", "reads the counters")


def after(plan: Plan, s: State, move: Move) -> State:
    """Return the state after a move, or raise BrokenPromise."""
    _, verb, arguments, more = move
    if verb in _WITHOUT_ROWS:
        return s._replace(**more)
    step = WorldSteps(plan, s)
    then = getattr(step, verb)(*arguments)
    if "steppers" in more:
        more = more | {"steppers": tuple(sorted((*more["steppers"], then or ())))}
    return step.to_state(**more)


def steps_from(plan: Plan, s: State) -> Iterator[Step]:
    """Yield every step that may come next."""
    for move in moves(plan, s):
        try:
            following, error = after(plan, s, move), ""
        except BrokenPromise as promise:
            following, error = s, str(promise)
        yield move[1:3], move[0], following, error
