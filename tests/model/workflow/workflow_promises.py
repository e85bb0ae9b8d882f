"""Promises about jobs of many tasks, and the check of a state.

J1   Every job ends when faults stop.
J2   A task has a row only when all before it ended well, and at most one row in a round.
J3   No more children are open than `concurrency` allows.
J4   Nothing is inserted, opened, expanded or claimed below a verdict, a closed phase or an end of its own job.
J5   A composite's counters are those of its children's rows.
J6   Below what has ended nothing is open, attached subjobs included.
J7   No task of `tasks` that ended well runs again in a later round.
J8   Nothing leaves an end, except a job by a restart.
J9   Ends are true: COMPLETED only when all ended well or are forgiven; FAILED only with an error, when a task or the
     output failed in this round, and without `failFast` after all children; CANCELLED only when somebody cancelled.
J10  The close of a parent cancels no `finally`.
J11  `onFailure` and `finally` run after all tasks, and before the end.
J12  A row is written only with what was evaluated in its round.
J14  All attempts of a task have one spec.

J4, J8, J12, J14 and a part of J2 are asked where a step is made, the others here. J13, on secrets, is in no model.
"""

from __future__ import annotations

from engine.model.states import JobState, TaskState
from engine.model.tree import Course, Phase, Scope
from tests.model.workflow.job_shapes import Key, Kind, Plan, spec_path
from tests.model.workflow.transaction import Transaction
from tests.model.workflow.tree_rows import ENDED, Bound, BrokenPromise, State, Task, hold, key_of


def broken(bound: Bound, plan: Plan, s: State) -> str:
    """Return the promise that a state breaks, or ""."""
    try:
        _Check(bound, plan, s).all()
    except BrokenPromise as promise:
        return str(promise)
    return ""


def is_goal(s: State) -> bool:
    """Return whether every job has ended, and its parent knows (J1)."""
    return all(course.state in ENDED and not course.todo for _, course in s.jobs)


class _Check(Transaction):
    """Rows of a state, to be checked."""

    def __init__(self, bound: Bound, plan: Plan, s: State) -> None:
        super().__init__(plan, s)
        self.bound = bound
        self.somebody_cancelled = s.cancels < bound.cancels
        self.priors = {row.prior for row in self.tasks.values()}
        self.children: dict[Key, list[Key]] = {}
        for key, row in s.tasks:
            if row.parent:
                self.children.setdefault(row.parent, []).append(key)

    def all(self) -> None:
        self._nothing_runs_again()
        for key, row in self.s.tasks:
            self._task(key, row)
            if row.scope:
                self._composite(key, row, row.scope)
        for name, course in self.s.jobs:
            self._job(name, course)

    def ended_well(self, key: Key) -> bool:
        end = self.end_of(key)
        return end.state in ENDED and not end.is_bad

    def _nothing_runs_again(self) -> None:
        well = [
            spec_path(key)
            for key, row in self.s.tasks
            if row.state is TaskState.COMPLETED and key[1] == Phase.TASKS and not self.node(key).is_composite
        ]
        hold(len(well) == len(set(well)), "J7 what ended well has run again:", well)

    def _task(self, key: Key, row: Task) -> None:
        is_cut = key[0] != "J" and key[1] == Phase.FINALLY and row.state is TaskState.CANCELLED
        hold(not is_cut, "J10", key, "of finally was cancelled by the close of its parent")
        if len(key) == 4 and key[2] > 1:
            before = self.top_tasks(*key[:2], key[2] - 1)
            hold(
                before and self.ended_well(before[-1]),
                "J2",
                key,
                "is there before the task before it ended well",
            )

    def _composite(self, key: Key, row: Task, scope: Scope) -> None:
        children = [self.tasks[child] for child in self.children.get(key, ())]
        count = sum(child.state not in ENDED for child in children)
        course = self.jobs.get(row.child_job)
        is_mine = course is not None and key == self._parent_of(course)
        has_open = count or (course and is_mine and course.state not in ENDED)
        hold(row.state not in ENDED or not has_open, "J6", key, "is", row.state, "and a part of it is open")
        # A composite of a later round may have taken the good children.
        if self.node(key).kind is Kind.SUBJOB or key in self.priors:
            return
        self._counters(key, scope, children)
        hold(not 0 < scope.concurrency < count, "J3", count, "children of", key, "are open at once")
        self._end(key, row, scope)

    def _parent_of(self, course: Course) -> Key:
        return key_of(course.parent_task) if course.parent_task else ()

    def _counters(self, key: Key, scope: Scope, children: list[Task]) -> None:
        states = [child.state for child in children]
        ended = sum(state in ENDED for state in states)
        failed, skipped = states.count(TaskState.FAILED), states.count(TaskState.SKIPPED)
        counted = (scope.cursor, scope.open, scope.ended, scope.failed, scope.skipped)
        rows = (len(states), len(states) - ended, ended, failed, skipped)
        hold(counted == rows, "J5", key, "counts", counted, "and its rows are", rows)

    def _end(self, key: Key, row: Task, scope: Scope) -> None:
        """Ask whether a composite's end is true."""
        if row.state not in ENDED:
            return
        children = self.children.get(key, [])
        well = all(
            self.ended_well(child)
            and (self.tasks[child].state is not TaskState.CANCELLED or self.somebody_cancelled)
            for child in children
        )
        if row.state is TaskState.COMPLETED:
            hold(scope.ended == scope.size and well, "J9", key, "is COMPLETED and its children are not")
        elif row.state is TaskState.FAILED:
            # Not a child of an earlier round: what failed there runs again.
            ends = [self.end_of(child) for child in children if child[:-1] == key]
            failed = any(end.is_bad and end.state is TaskState.FAILED for end in ends)
            hold(failed, "J9", key, "is FAILED and none of its children failed in this round")
        is_early = row.state is TaskState.FAILED and not self.node(key).fail_fast and scope.ended < scope.size
        hold(not is_early, "J9", key, "is FAILED before all its children ended, without failFast")
        hold(
            (row.state is TaskState.FAILED) == bool(scope.error),
            "J9",
            key,
            "is",
            row.state,
            "error:",
            scope.error,
        )

    def _job(self, name: str, course: Course) -> None:
        rows = [(key, row) for key, row in self.s.tasks if key[0] == name]
        if course.phase:
            is_over = all(key[1] != Phase.TASKS or row.state in ENDED for key, row in rows)
            hold(is_over, "J11", name, "is in phase", course.phase, "and a task of `tasks` is open")
        if course.state not in ENDED:
            return
        hold(all(row.state in ENDED for _, row in rows), "J6", name, "is", course.state, "and a task is open")
        shape = self.plan.shapes[name]
        positions = range(1, shape.counts[Phase.TASKS] + 1)
        tasks = [(self.top_tasks(name, Phase.TASKS, n) or [()])[-1] for n in positions]
        all_well = all(key and self.ended_well(key) for key in tasks)
        ends = [self.end_of(key) for key in tasks if key and key[3] == course.round]
        failed = any(end.is_bad and end.state is TaskState.FAILED for end in ends)
        failed = failed or (all_well and shape.is_output_wrong)
        this_round = [(key[1], row) for key, row in rows if key[3] == course.round]
        self._end_of_job(name, course, all_well, failed, this_round)
        phases = {phase for phase, _ in this_round}
        missed = shape.counts[Phase.FINALLY] and Phase.FINALLY not in phases
        if course.state is JobState.FAILED and failed and shape.counts[Phase.ON_FAILURE]:
            missed = missed or Phase.ON_FAILURE not in phases
        hold(not missed, "J11", name, "ended without a phase")

    def _end_of_job(
        self, name: str, course: Course, all_well: bool, failed: bool, rows: list[tuple[Phase, Task]]
    ) -> None:
        """Ask whether a job's end is true."""
        if course.state is JobState.COMPLETED:
            hold(all_well and not course.error, "J9", name, "is COMPLETED and its tasks are not")
        elif course.state is JobState.FAILED:
            late = any(phase == Phase.FINALLY and row.state is TaskState.FAILED for phase, row in rows)
            hold(failed or late, "J9", name, "is FAILED and none of its tasks is")
            hold(course.error, "J9", name, "is FAILED without an error")
        else:
            hold(
                self.somebody_cancelled or name != "J",
                "J9",
                name,
                "is CANCELLED and nobody cancelled anything",
            )
