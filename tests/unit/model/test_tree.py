"""Decisions about a job of many tasks: the table of ends, and random trees in random orders."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import tree
from engine.model.states import JobState, TaskState
from engine.model.tree import After, Course, End, Phase, Scope, Todo

COMPLETED, FAILED, CANCELLED, SKIPPED = (
    TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED,
)  # fmt: skip
WELL = [End(COMPLETED), End(SKIPPED), End(FAILED, "x", continue_on_error=True), End(CANCELLED, None, True)]
DEAD = End(FAILED, "exit code 1")


@pytest.mark.parametrize("end", WELL)
def test_after_a_good_end_of_tasks_the_next_task_is_reached(end: End) -> None:
    after = tree.after_top_task(Course(counts=(2, 1, 1)), end)
    assert (after.reached, after.course.position, after.course.verdict) == ((Phase.TASKS, 2), 2, None)


def test_after_the_last_task_comes_the_output_then_finally_then_the_end() -> None:
    course = tree.after_top_task(Course(counts=(1, 1, 1), has_output=True), End(COMPLETED)).course
    assert (course.todo, course.verdict) == (Todo.CONCLUDE, None)
    after = tree.concluded(course)
    assert (after.reached, after.course.verdict) == ((Phase.FINALLY, 1), JobState.COMPLETED)
    ended = tree.after_top_task(after.course, End(COMPLETED))
    assert (ended.course.state, ended.course.todo, ended.reached) == (JobState.COMPLETED, None, None)


def test_an_output_that_cannot_be_evaluated_fails_the_job() -> None:
    after = tree.concluded(Course(counts=(1, 1, 0), has_output=True), "output: column 3")
    assert (after.reached, after.course.error) == ((Phase.ON_FAILURE, 1), "output: column 3")


def test_a_failed_task_leads_to_on_failure_then_finally_then_failed() -> None:
    after = tree.after_top_task(Course(counts=(2, 1, 1)), DEAD)
    assert (after.reached, after.course.verdict) == ((Phase.ON_FAILURE, 1), JobState.FAILED)
    after = tree.after_top_task(after.course, End(COMPLETED))
    assert after.reached == (Phase.FINALLY, 1)
    course = tree.after_top_task(after.course, End(COMPLETED)).course
    assert (course.state, course.error) == (JobState.FAILED, "exit code 1")


def test_a_cancelled_task_leads_to_finally_and_not_to_on_failure() -> None:
    after = tree.after_top_task(Course(counts=(2, 1, 1)), End(CANCELLED))
    assert (after.reached, after.course.verdict) == ((Phase.FINALLY, 1), JobState.CANCELLED)


def test_a_bad_end_in_on_failure_skips_its_rest_and_adds_its_words() -> None:
    course = Course(phase=Phase.ON_FAILURE, counts=(1, 2, 1), verdict=JobState.FAILED, error="first")
    after = tree.after_top_task(course, End(FAILED, "second"))
    assert (after.reached, after.course.error) == ((Phase.FINALLY, 1), "first; second")
    assert tree.after_top_task(course, End(CANCELLED)).course.error == "first"


@pytest.mark.parametrize("end", [End(FAILED, "late"), End(CANCELLED)])
def test_a_bad_end_in_finally_skips_its_rest_and_spoils_completed_alone(end: End) -> None:
    course = Course(phase=Phase.FINALLY, counts=(1, 0, 2), verdict=JobState.COMPLETED)
    ended = tree.after_top_task(course, end).course
    assert (ended.state, ended.error) == (JobState(end.state), end.error)
    course = replace(course, verdict=JobState.CANCELLED)
    assert tree.after_top_task(course, end).course.state is JobState.CANCELLED


def test_a_subjob_that_ended_is_to_be_settled() -> None:
    assert tree.after_top_task(Course(parent_task="t"), End(COMPLETED)).course.todo is Todo.SETTLE


def test_a_cancel_of_a_person_closes_the_phase_and_a_second_one_closes_finally() -> None:
    first = tree.cancelled(Course(counts=(2, 0, 2)))
    assert first and (first.course.verdict, first.course.is_closed) == (JobState.CANCELLED, True)
    assert tree.cancelled(first.course) is None
    in_finally = tree.after_top_task(first.course, End(CANCELLED)).course
    assert (in_finally.phase, in_finally.is_closed) == (Phase.FINALLY, False)
    second = tree.cancelled(in_finally)
    assert second and tree.after_top_task(second.course, End(CANCELLED)).course.state is JobState.CANCELLED
    assert tree.cancelled(Course(state=JobState.COMPLETED)) is None


def test_a_cancel_before_the_output_goes_to_the_next_phase_at_once() -> None:
    after = tree.cancelled(Course(todo=Todo.CONCLUDE, counts=(1, 0, 1)))
    assert after and (after.reached, after.course.todo) == ((Phase.FINALLY, 1), None)


@pytest.mark.parametrize(
    "course",
    [
        Course(parent_task="other"),
        Course(parent_task="p", phase=Phase.FINALLY),
        Course(parent_task="p", verdict=JobState.FAILED),
    ],
)
def test_a_cancel_by_a_parent_that_comes_late_changes_nothing(course: Course) -> None:
    assert tree.cancelled(course, "p") is None
    assert tree.cancelled(Course(parent_task="p"), "p")


def test_a_restart_goes_on_at_the_task_that_did_not_end_well() -> None:
    failed = Course(state=JobState.FAILED, counts=(3, 0, 0), verdict=JobState.FAILED, error="x")
    after = tree.restarted(failed, tree.TopTask(2, DEAD))
    assert after and (after.reached, after.course.round, after.course.error) == ((Phase.TASKS, 2), 2, None)
    after = tree.restarted(failed, tree.TopTask(2, DEAD), from_start=True)
    assert after and after.reached == (Phase.TASKS, 1)
    after = tree.restarted(failed, tree.TopTask(2, End(COMPLETED)))
    assert after and after.reached == (Phase.TASKS, 3)
    after = tree.restarted(failed, tree.TopTask(3, End(COMPLETED)))
    assert after and after.course.state is JobState.COMPLETED
    assert tree.restarted(Course(), tree.TopTask(1, DEAD)) is None


def test_a_restart_keeps_what_ended_well_or_is_forgiven_but_not_what_was_closed() -> None:
    assert [tree.is_kept(end) for end in [*WELL, DEAD]] == [True, True, True, False, False]


def test_a_composite_without_children_completes() -> None:
    assert tree.after_batch(Scope(size=0), 0, 0, [])[1] is COMPLETED


def test_a_bad_end_closes_the_siblings_and_the_composite_ends_when_none_is_open() -> None:
    scope, end = tree.after_children(Scope(size=3, cursor=3, open=2, ended=1), [DEAD])
    assert (scope.verdict, scope.error, scope.todo, end) == (FAILED, "exit code 1", Todo.CLOSE, None)
    scope, end = tree.after_close(scope, 1, is_done=True)
    assert (scope.todo, scope.failed, end) == (None, 1, FAILED)


def test_without_fail_fast_the_siblings_run_on_and_the_rest_is_still_reached() -> None:
    scope = Scope(size=3, cursor=2, open=2, concurrency=2, fail_fast=False)
    scope, end = tree.after_children(scope, [DEAD])
    assert (scope.verdict, scope.todo, end) == (None, Todo.EXPAND, None)
    scope, end = tree.after_batch(scope, 3, 1, [])
    scope, end = tree.after_children(scope, [End(COMPLETED), End(FAILED, "second")])
    assert (scope.failed, scope.error, end) == (2, "exit code 1", FAILED)


def test_a_child_that_fails_below_a_verdict_leaves_the_error_of_the_verdict() -> None:
    for fail_fast in (True, False):
        scope = tree.set_verdict(Scope(size=2, cursor=2, open=2, fail_fast=fail_fast), CANCELLED)
        scope, end = tree.after_children(scope, [DEAD, DEAD])
        assert (scope.error, scope.failed, end) == (None, 2, CANCELLED)


def test_the_free_places_are_those_of_the_concurrency_and_of_the_list() -> None:
    places = [
        tree.free_places(Scope(size=9, cursor=4, open=2, concurrency=limit, verdict=verdict))
        for limit, verdict in ((0, None), (3, None), (2, None), (20, None), (0, FAILED))
    ]
    assert places == [5, 1, 0, 5, 0]


# Random trees. A leaf is (its end, continueOnError); a composite (children, concurrency, failFast, continueOnError).
leaves = st.tuples(st.sampled_from([COMPLETED, COMPLETED, FAILED, SKIPPED]), st.booleans())


def _composites(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    children = st.lists(inner, max_size=4)
    return st.tuples(children, st.integers(0, 3), st.booleans(), st.booleans())


nodes = st.recursive(leaves, _composites, max_leaves=12)
jobs = st.tuples(
    st.lists(nodes, min_size=1, max_size=3), st.lists(nodes, max_size=2), st.lists(nodes, max_size=2)
)


def expected(node: Any) -> End:
    """Return the end of a task in which nobody cancels anything, whatever the order of its leaves' ends."""
    if len(node) == 2:
        return End(node[0], None, node[1])
    is_bad = any(expected(child).is_bad for child in node[0])
    return End(FAILED if is_bad else COMPLETED, None, node[3])


def expected_of_job(job: Any) -> JobState:
    """Return the end of a job in which nobody cancels anything."""
    spoiled = [any(expected(task).is_bad for task in phase) for phase in job]
    return JobState.FAILED if spoiled[0] or spoiled[2] else JobState.COMPLETED


@dataclass
class Row:
    """Task of the job that is played."""

    node: Any
    parent: int | None
    state: TaskState = TaskState.CREATED
    scope: Scope | None = None


@dataclass
class Play:
    """Player of a job: makes one due transition after the other, as the verbs do, and checks each."""

    job: Any
    course: Course = field(init=False)
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts = tuple(len(phase) for phase in self.job)
        self.course = Course(counts=counts)  # type: ignore[arg-type]
        self.follow(After(self.course, (Phase.TASKS, 1)))

    def follow(self, after: After) -> None:
        self.course = after.course
        if after.reached:
            assert not self.open(), "the phase before is still open"
            phase, position = after.reached
            self.rows.append(Row(self.job[phase][position - 1], None))

    def open(self) -> list[int]:
        return [n for n, row in enumerate(self.rows) if not row.state.ended]

    def is_shut(self, n: int | None) -> bool:
        while n is not None:
            scope = self.rows[n].scope
            if scope and scope.verdict:
                return True
            n = self.rows[n].parent
        return self.course.is_closed

    def due(self) -> list[tuple[str, int]]:
        steps = []
        for n in self.open():
            row = self.rows[n]
            if row.scope is None:
                steps += [] if self.is_shut(row.parent) else [("go", n)]
            elif row.scope.todo and not (row.scope.todo is Todo.EXPAND and self.is_shut(n)):
                steps.append((row.scope.todo.value, n))
        return steps

    def end(self, n: int, state: TaskState) -> None:
        row = self.rows[n]
        assert not row.state.ended
        row.state = state
        end = End(state, "words" if state is FAILED else None, row.node[-1])
        if row.parent is None:
            self.follow(tree.after_top_task(self.course, end))
            return
        above = self.rows[row.parent]
        assert above.scope
        above.scope, ended = tree.after_children(above.scope, [end])
        if ended:
            self.end(row.parent, ended)

    def go(self, n: int) -> None:
        """Open a composite, or run a leaf to its end."""
        row = self.rows[n]
        if len(row.node) == 2:
            self.end(n, row.node[0])
            return
        row.state = TaskState.RUNNING
        row.scope = Scope(len(row.node[0]), concurrency=row.node[1], fail_fast=row.node[2], todo=Todo.EXPAND)
        self.expand(n)

    def expand(self, n: int) -> None:
        row = self.rows[n]
        assert row.scope and not self.is_shut(n)
        count = min(2, tree.free_places(row.scope))
        for child in row.node[0][row.scope.cursor : row.scope.cursor + count]:
            self.rows.append(Row(child, n))
        row.scope, ended = tree.after_batch(row.scope, row.scope.cursor + count, count, [])
        assert not row.scope.concurrency or row.scope.open <= row.scope.concurrency
        if ended:
            self.end(n, ended)

    def close(self, n: int) -> None:
        row = self.rows[n]
        children = [k for k in self.open() if self.rows[k].parent == n]
        simple = [k for k in children if self.rows[k].scope is None]
        for k in set(children) - set(simple):
            scope = self.rows[k].scope
            assert scope
            self.rows[k].scope = tree.set_verdict(scope, CANCELLED)
        for k in simple:
            self.rows[k].state = CANCELLED
        assert row.scope
        row.scope, ended = tree.after_close(row.scope, len(simple), is_done=True)
        if ended:
            self.end(n, ended)

    def cancel(self, n: int) -> None:
        """Cancel a task as a person does."""
        scope = self.rows[n].scope
        if scope:
            self.rows[n].scope = tree.set_verdict(scope, CANCELLED)
        else:
            self.end(n, CANCELLED)

    def cancel_job(self) -> None:
        after = tree.cancelled(self.course)
        if after:
            self.follow(after)
            for n in self.open():
                if self.rows[n].parent is None:
                    self.cancel(n)


def play(job: Any, data: st.DataObject, cancels: int = 0) -> Play:
    """Play the job in a random order, with as many cancels of tasks and jobs, to its end."""
    played = Play(job)
    for _ in range(300):
        if played.course.state.ended:
            break
        choices = played.due()
        assert choices, f"nothing is due, and the job has not ended: {played.rows}"
        if cancels and data.draw(st.integers(0, 4)) == 0:
            cancels -= 1
            n = data.draw(st.sampled_from([None, *played.open()]))
            played.cancel_job() if n is None else played.cancel(n)
            continue
        verb, n = data.draw(st.sampled_from(choices))
        getattr(played, verb)(n)
    assert played.course.state.ended, "the job has not ended"
    assert not played.open(), "something is open, and the job has ended"
    for n, row in enumerate(played.rows):
        if row.scope:
            children = [child.state for child in played.rows if child.parent == n]
            assert (row.scope.open, row.scope.ended) == (0, len(children))
            assert row.scope.failed == children.count(FAILED) and row.scope.skipped == children.count(SKIPPED)
    return played


@settings(max_examples=150)
@given(jobs, st.data())
def test_a_job_ends_as_its_leaves_say_in_every_order(job: Any, data: st.DataObject) -> None:
    played = play(job, data)
    assert played.course.state is expected_of_job(job)
    finally_tasks = [row for row in played.rows if row.parent is None and any(row.node is t for t in job[2])]
    assert bool(finally_tasks) == bool(job[2])


@settings(max_examples=150)
@given(jobs, st.data())
def test_a_job_ends_whatever_is_cancelled(job: Any, data: st.DataObject) -> None:
    course = play(job, data, cancels=3).course
    if course.state is JobState.COMPLETED:
        assert course.error is None
