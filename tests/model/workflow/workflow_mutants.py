"""Guards and decisions that a mutant weakens: each must lead to a broken promise in some bound, or has no proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from engine.model import tree
from engine.model.states import JobState, TaskState
from engine.model.tree import (
    After,
    Course,
    End,
    Scope,
    Todo,
    TopTask,
    after_children,
    after_top_task,
    cancelled,
    free_places,
    restarted,
)

#: The mutant in force in this process; "": the protocol as it is.
planted = ""

#: Mutants of guards and of steps: `planted` is asked where the guard stands.
OF_STEPS = {
    "open-state": "open_task does not ask for CREATED",
    "open-closing": "open_task does not ask what is above the task",
    "expand-state": "expand_each does not ask whether the composite is RUNNING",
    "expand-cursor": "expand_each does not ask for the cursor that was read",
    "expand-closing": "expand_each does not ask for a verdict of the composite, or above",
    "expand-above": "expand_each asks the composite alone, and no other above it",
    "claim-closing": "claim does not ask what is above the task",
    "claim-above": "claim asks the nearest composite alone",
    "finish-token": "finish asks neither attempt nor delivery",
    "advance-unlocked": "the counters are read before the job's lock is taken",
    "close-composites": "close_children leaves the composites among the children alone",
    "close-due": "close_children does not ask whether the composite is to be closed",
    "close-once": "close_children is done after its first batch",
    "conclude-todo": "conclude_job does not ask whether the job is to be concluded",
    "conclude-round": "conclude_job does not ask for the round that was read",
    "settle-todo": "settle_subjob does not ask whether the child is to be settled",
    "settle-running": "settle_subjob does not ask whether the parent's task is RUNNING",
    "settle-stale": "settle_subjob ends the task that was read before the lock",
    "settle-lost": "a subjob's end marks nothing to settle",
    "restart-anew": "a restart hands on no composite of the round before",
    "restart-revives": "a restart makes the ended row CREATED",
    "prior-unopened": "a restart forgets the earlier rounds of a composite that was not opened again",
    "prior-nearest": "a composite looks for children in the nearest earlier round alone",
}


def _free_places(scope: Scope) -> int:
    return free_places(replace(scope, open=0))


def _without_expand(scope: Scope, ends: Sequence[End]) -> tuple[Scope, TaskState | None]:
    scope, end = after_children(scope, ends)
    return replace(scope, todo=None if scope.todo is Todo.EXPAND else scope.todo), end


def _fail_at_once(scope: Scope, ends: Sequence[End]) -> tuple[Scope, TaskState | None]:
    scope, end = after_children(scope, ends)
    return (replace(scope, todo=None), scope.verdict) if scope.verdict else (scope, end)


def _always_fail_fast(scope: Scope, ends: Sequence[End]) -> tuple[Scope, TaskState | None]:
    return after_children(replace(scope, fail_fast=True), ends)


def _without_outcome(scope: Scope, ends: Sequence[End]) -> tuple[Scope, TaskState | None]:
    scope, end = after_children(scope, ends)
    if scope.fail_fast:
        return scope, end
    return replace(scope, outcome=TaskState.COMPLETED), end and TaskState.COMPLETED


def _without_close(scope: Scope, verdict: TaskState, error: str | None = None) -> Scope:
    return scope if scope.verdict else replace(scope, verdict=verdict, error=error)


def _last_verdict(scope: Scope, verdict: TaskState, error: str | None = None) -> Scope:
    todo = scope.todo if scope.verdict else Todo.CLOSE
    return replace(scope, verdict=verdict, error=error, todo=todo)


def _last_of_top_tasks(course: Course, end: End) -> After:
    is_last = course.phase is tree.Phase.TASKS and end.is_bad
    return after_top_task(replace(course, verdict=None) if is_last else course, end)


def _without_finally(course: Course, end: End) -> After:
    after = after_top_task(replace(course, counts=(course.counts[0], 0, 0)), end)
    return replace(after, course=replace(after.course, counts=course.counts))


def _cancelled_at_once(course: Course, asking_task: str | None = None) -> After | None:
    if cancelled(course, asking_task) is None:
        return None
    todo = Todo.SETTLE if course.parent_task else None
    return After(replace(course, state=JobState.CANCELLED, verdict=JobState.CANCELLED, todo=todo))


def _cancelled_in_any_phase(course: Course, asking_task: str | None = None) -> After | None:
    is_mine = asking_task == course.parent_task
    return cancelled(course, None if is_mine else asking_task)


def _cancelled_by_any_parent(course: Course, asking_task: str | None = None) -> After | None:
    return cancelled(course, asking_task and course.parent_task)


def _restarted_while_open(course: Course, last: TopTask) -> After | None:
    return restarted(replace(course, state=JobState.FAILED), last)


def _restarted_behind(course: Course, last: TopTask) -> After | None:
    position = last.position if last.end.is_bad else course.counts[0]
    return restarted(course, TopTask(position, last.end))


def _kept_with_failed(end: End) -> bool:
    return end.state is not TaskState.CANCELLED


def _kept_with_cancelled(end: End) -> bool:
    return not end.is_bad


#: Mutants of decisions: what stands in for functions of engine/model/tree.py.
_DECISIONS: dict[str, tuple[str, dict[str, Callable[..., Any]]]] = {
    "expand-room": ("the open children take no place", {"free_places": _free_places}),
    "expand-todo": ("an end of a child marks nothing to expand", {"after_children": _without_expand}),
    "fail-at-once": ("a composite ends with its verdict", {"after_children": _fail_at_once}),
    "fail-fast-always": ("failFast: false is not asked", {"after_children": _always_fail_fast}),
    "outcome-lost": ("a bad end under failFast: false is forgotten", {"after_children": _without_outcome}),
    "close-todo": ("a verdict marks nothing to close", {"set_verdict": _without_close}),
    "verdict-last": (
        "a later verdict replaces the first",
        {"set_verdict": _last_verdict, "after_top_task": _last_of_top_tasks},
    ),
    "phases-skipped": ("a job ends behind its tasks", {"after_top_task": _without_finally}),
    "cancel-at-once": ("a job ends with its cancel", {"cancelled": _cancelled_at_once}),
    "cancel-again": ("a parent's close cancels in any phase", {"cancelled": _cancelled_in_any_phase}),
    "cancel-parent": ("a close of a former round cancels", {"cancelled": _cancelled_by_any_parent}),
    "restart-open": ("a job that has not ended is restarted", {"restarted": _restarted_while_open}),
    "restart-skips": ("a restart goes to the end behind a good end", {"restarted": _restarted_behind}),
    "keep-failed": ("a restart keeps what failed", {"is_kept": _kept_with_failed}),
    "keep-cancelled": ("a restart keeps what a close cancelled", {"is_kept": _kept_with_cancelled}),
}  # fmt: skip
MUTANTS = OF_STEPS | {name: words for name, (words, _) in _DECISIONS.items()}

_ORIGINAL: dict[str, Callable[..., Any]] = {
    name: getattr(tree, name) for _, functions in _DECISIONS.values() for name in functions
}


def plant(name: str) -> None:
    """Plant a mutant, or none with ""."""
    global planted
    assert not name or name in MUTANTS, name
    planted = name
    _, functions = _DECISIONS.get(name, ("", {}))
    for function, original in _ORIGINAL.items():
        setattr(tree, function, functions.get(function, original))
