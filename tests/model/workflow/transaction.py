"""Base of all steps: one transaction with its copies of the rows, its guards, and what propagates upwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.model import tree
from engine.model.states import TaskState
from engine.model.tree import After, End, Scope, Todo
from tests.model.workflow import workflow_mutants as mutants
from tests.model.workflow.job_shapes import Key, Node, Plan, spec_path
from tests.model.workflow.tree_rows import ENDED, WORDS, State, Task, hold

#: Most children that one transaction inserts or cancels (200 in the code).
BATCH = 2


class Transaction:
    """Transaction over the rows of a state."""

    def __init__(self, plan: Plan, s: State) -> None:
        self.plan, self.s = plan, s
        self.jobs, self.tasks = dict(s.jobs), dict(s.tasks)
        self.threads, self.fails = s.threads, s.fails
        #: The job that a restart takes out of its end, and the row that a mutant takes out of its.
        self.restarted = ""
        self.revived: Key = ()

    def node(self, key: Key) -> Node:
        """Return what the job's file says of a row."""
        return self.plan.nodes[spec_path(key)]

    def scope(self, key: Key) -> Scope:
        """Return the counters of a composite that was opened."""
        scope = self.tasks[key].scope
        assert scope is not None, key
        return scope

    def set_task(self, key: Key, **values: Any) -> None:
        """Change columns of a task's row."""
        self.tasks[key] = self.tasks[key]._replace(**values)

    def top_tasks(self, name: str, phase: int, position: int) -> list[Key]:
        """Return the rows of a top task, one for each round that reached it."""
        return sorted(key for key in self.tasks if len(key) == 4 and key[:3] == (name, phase, position))

    def end_of(self, key: Key) -> End:
        """Return the end of a task, as its parent sees it."""
        row = self.tasks[key]
        return End(row.state, WORDS if row.state is TaskState.FAILED else None, row.continue_on_error)

    def count(self, key: Key) -> int:
        """Return how many children the next batch of a composite looks at."""
        return min(BATCH, tree.free_places(self.scope(key)))

    def is_closed(self, key: Key, *, with_itself: bool = False, only_nearest: bool = False) -> bool:
        """Return whether the job or a composite above the task opens nothing more."""
        course = self.jobs[key[0]]
        if course.is_closed or course.state in ENDED:
            return True
        above = key if with_itself else self.tasks[key].parent
        while above:
            row = self.tasks[above]
            if row.state in ENDED or (row.scope and row.scope.verdict):
                return True
            above = () if only_nearest else row.parent
        return False

    def may(self, verb: str, key: Key) -> bool:
        """Return the guard of a verb, as far as a mutant leaves it; then ask for the promise behind it."""
        itself = verb == "expand"
        if mutants.planted != f"{verb}-closing":
            only_nearest = mutants.planted == f"{verb}-above"
            if self.is_closed(key, with_itself=itself, only_nearest=only_nearest):
                return False
        hold(not self.is_closed(key, with_itself=itself), "J4", verb, "of", key, "below a verdict or an end")
        return True

    def insert(self, key: Key, row: Task) -> None:
        """Insert a task's row."""
        hold(key not in self.tasks, "J2", key, "is inserted twice")
        self.tasks[key] = row
        hold(not self.is_closed(key), "J4", key, "is inserted below a verdict or an end")

    def end_task(self, key: Key, state: TaskState) -> None:
        """End a task, and propagate the end upwards."""
        self.set_task(key, state=state)
        above = self.tasks[key].parent
        if not above:
            self.follow(key[0], tree.after_top_task(self.jobs[key[0]], self.end_of(key)))
            return
        self.set_scope(above, *tree.after_children(self.scope(above), [self.end_of(key)]))

    def set_scope(self, key: Key, scope: Scope, end: TaskState | None = None) -> None:
        """Write the counters of a composite, and its end when it has come."""
        self.set_task(key, scope=scope)
        if end:
            self.end_task(key, end)

    def set_verdict(self, key: Key) -> None:
        """Set the verdict CANCELLED of a composite."""
        self.set_task(key, scope=tree.set_verdict(self.scope(key), TaskState.CANCELLED))

    def follow(self, name: str, after: After, prior: Key = ()) -> None:
        """Write what was decided about a job."""
        course = after.course
        if course.todo is Todo.SETTLE and mutants.planted == "settle-lost":
            course = replace(course, todo=None)
        self.jobs[name] = course
        if after.reached:
            phase, position = after.reached
            key = (name, int(phase), position, course.round)
            self.insert(key, Task(TaskState.CREATED, prior=prior))

    def cancel_job(self, name: str, asking_task: str | None = None) -> None:
        """Cancel a job, as a person or the task of its parent job asks."""
        after = tree.cancelled(self.jobs[name], asking_task)
        if after is None:
            return
        self.follow(name, after)
        course = after.course
        if course.is_closed:
            self.cancel_task((name, int(course.phase), course.position, course.round))

    def cancel_task(self, key: Key) -> None:
        """Cancel a task: a composite only gets the verdict."""
        if self.is_open_composite(key):
            self.set_verdict(key)
        else:
            self.end_task(key, TaskState.CANCELLED)

    def is_open_composite(self, key: Key) -> bool:
        """Return whether the task is a composite that was opened, and has not ended."""
        row = self.tasks[key]
        return row.state is TaskState.RUNNING and row.scope is not None

    def restart_job(self, name: str) -> None:
        """Begin the next round of a job where the last one did not end well."""
        reached = [key for key in self.tasks if len(key) == 4 and key[:2] == (name, 0)]
        last = max(reached, key=lambda key: (key[3], key[2]))
        end = self.end_of(last)
        after = tree.restarted(self.jobs[name], tree.TopTask(last[2], end))
        if after is None:
            return
        self.restarted = name
        if mutants.planted == "restart-revives" and end.is_bad and not self.node(last).is_composite:
            self.revived, self.jobs[name] = last, after.course
            self.set_task(last, state=TaskState.CREATED)
            return
        prior = self.opened(last) if end.is_bad and mutants.planted != "restart-anew" else ()
        self.follow(name, after, prior)

    def opened(self, key: Key) -> Key:
        """Return the composite of which a later row of the same place keeps the children: the row, or its prior."""
        row = self.tasks[key]
        if row.scope:
            return key
        return () if mutants.planted == "prior-unopened" else row.prior

    def earlier_child(self, key: Key, n: int) -> Key:
        """Return the latest row of a composite's n-th child in an earlier round, or ()."""
        prior = self.tasks[key].prior
        while prior:
            for child, row in self.tasks.items():
                if row.parent == prior and child[-1] == n:
                    return child
            prior = () if mutants.planted == "prior-nearest" else self.tasks[prior].prior
        return ()

    def to_state(self, **more: Any) -> State:
        """Return the state after the transaction, and ask whether it changed what had ended."""
        for key, old in self.s.tasks:
            if old.state in ENDED and self.tasks[key] is not old and key != self.revived:
                same = old._replace(parent=()) == self.tasks[key]._replace(parent=())
                hold(same, "J8", key, "had ended", old.state, "and changes")
        for name, course in self.s.jobs:
            same = (
                course.state not in ENDED or name == self.restarted or course.state == self.jobs[name].state
            )
            hold(same, "J8 job", name, "had ended and changes")
        return self.s._replace(
            jobs=tuple(sorted(self.jobs.items(), key=_key)),
            tasks=tuple(sorted(self.tasks.items(), key=_key)),
            threads=self.threads,
            fails=self.fails,
            **more,
        )


def _key(item: tuple[Any, Any]) -> Any:
    return item[0]
