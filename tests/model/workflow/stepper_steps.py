"""Steps of steppers: what is due is read first, and written later under the job's lock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engine.model import tree
from engine.model.states import TaskState
from engine.model.tree import Course, End, Scope, Todo
from tests.model.workflow import workflow_mutants as mutants
from tests.model.workflow.job_shapes import Key, Kind, job_name
from tests.model.workflow.transaction import BATCH, Transaction
from tests.model.workflow.tree_rows import ENDED, WORDS, Task, hold, key_of, task_id


class StepperSteps(Transaction):
    """Steps of opening, expanding, closing, concluding and settling."""

    def due(self) -> Iterator[tuple[Any, ...]]:
        """Yield every due step with what a stepper reads for it."""
        for key, row in self.tasks.items():
            if row.state is TaskState.CREATED:
                yield "open_task", key, self.jobs[key[0]].round
            elif row.scope and row.scope.todo is Todo.CLOSE:
                yield "close_children", key, row.child_job
            elif row.scope and row.scope.todo is Todo.EXPAND:
                yield "expand_each", key, row.scope.cursor, self.count(key)
        for name, course in self.jobs.items():
            if course.todo is Todo.CONCLUDE:
                yield "conclude_job", name, course.round
            elif course.todo is Todo.SETTLE:
                yield "settle_subjob", name, course.parent_task

    def open_task(self, key: Key, round_: int) -> None:
        """Open a CREATED task with what was evaluated in a round."""
        row, node = self.tasks[key], self.node(key)
        if row.state is not TaskState.CREATED and mutants.planted != "open-state":
            return
        if not self.may("open", key):
            return
        hold(row.state is TaskState.CREATED, "J14", key, "is opened twice: its attempts have two specs")
        hold(self.jobs[key[0]].round == round_, "J12", key, "is opened with what an earlier round evaluated")
        if not row.parent:
            self.set_task(key, continue_on_error=node.continue_on_error)
        if node.kind is Kind.SUBJOB:
            self._open_subjob(key)
        elif node.is_composite:
            scope = Scope(node.size, concurrency=node.concurrency, fail_fast=node.fail_fast)
            self.set_task(key, state=TaskState.RUNNING, scope=scope)
            self._reach(key, self.count(key))
        elif node.evaluates_to in ENDED:
            self.end_task(key, node.evaluates_to)
        else:
            self.set_task(key, state=TaskState.PENDING)

    def _open_subjob(self, key: Key) -> None:
        name, prior = job_name(key), self.tasks[key].prior
        scope = Scope(size=1, cursor=1, open=1)
        self.set_task(key, state=TaskState.RUNNING, scope=scope, child_job=name)
        if prior:
            self.jobs[name] = replace(self.jobs[name], parent_task=task_id(key))
            self.restart_job(name)
            return
        shape = self.plan.shapes[name]
        course = Course(name, counts=shape.counts, has_output=shape.has_output, parent_task=task_id(key))
        self.follow(name, tree.After(course, (tree.Phase.TASKS, 1)))

    def expand_each(self, key: Key, cursor: int, count: int) -> None:
        """Insert the evaluated children from the cursor on."""
        if self.tasks[key].state is not TaskState.RUNNING and mutants.planted != "expand-state":
            return
        if self.scope(key).cursor != cursor and mutants.planted != "expand-cursor":
            return
        if self.may("expand", key):
            self._reach(key, count, cursor)

    def _reach(self, key: Key, count: int, start: int = 0) -> None:
        """Insert a batch of children, or keep them from an earlier round."""
        opened, ends, n = 0, list[End](), start
        while n < start + count:
            end = self._reach_child(key, n)
            n += 1
            if end is None:
                opened += 1
                continue
            ends.append(end)
            if end.is_bad and self.scope(key).fail_fast:
                break
        cursor = max(n, self.scope(key).cursor)
        self.set_scope(key, *tree.after_batch(self.scope(key), cursor, opened, ends))

    def _reach_child(self, key: Key, n: int) -> End | None:
        """Insert or keep one child; return its end, or None when it is open."""
        child, earlier = (*key, n), self.earlier_child(key, n)
        if earlier and tree.is_kept(self.end_of(earlier)):
            self.set_task(earlier, parent=key)
            return self.end_of(earlier)
        node = self.node(child)
        state = TaskState.CREATED if node.is_composite else node.evaluates_to
        prior = self.opened(earlier) if earlier else ()
        self.insert(child, Task(state, key, continue_on_error=node.continue_on_error, prior=prior))
        return self.end_of(child) if state in ENDED else None

    def close_children(self, key: Key, child_job: str) -> tuple[Any, ...] | None:
        """Cancel what is open below a verdict, a batch at a time; a subjob under its own lock, in two transactions."""
        if child_job:
            self.cancel_job(child_job, task_id(key))
            return "mark_closed", key
        scope = self.scope(key)
        is_due = self.tasks[key].state is TaskState.RUNNING and scope.todo is Todo.CLOSE
        if not is_due and mutants.planted != "close-due":
            return None
        cancelled, is_done = 0, True
        for child in self._open_children(key):
            if self.is_open_composite(child):
                if mutants.planted != "close-composites":
                    self.set_verdict(child)
            elif cancelled == BATCH:
                is_done = mutants.planted == "close-once"
                break
            else:
                cancelled += 1
                self.set_task(child, state=TaskState.CANCELLED)
        self.set_scope(key, *tree.after_close(scope, cancelled, is_done=is_done))
        return None

    def _open_children(self, key: Key) -> list[Key]:
        return sorted(k for k, row in self.tasks.items() if row.parent == key and row.state not in ENDED)

    def mark_closed(self, key: Key) -> None:
        """Write that the child job was cancelled."""
        if self.tasks[key].state is TaskState.RUNNING:
            self.set_task(key, scope=replace(self.scope(key), todo=None))

    def conclude_job(self, name: str, round_: int) -> None:
        """Write a job's output, as it was evaluated in a round, and go to the next phase."""
        course = self.jobs[name]
        is_due = course.todo is Todo.CONCLUDE or mutants.planted == "conclude-todo"
        if is_due and (course.round == round_ or mutants.planted == "conclude-round"):
            hold(course.round == round_, "J12", name, "is concluded with what an earlier round evaluated")
            error = WORDS if self.plan.shapes[name].is_output_wrong else None
            self.follow(name, tree.concluded(course, error))

    def settle_subjob(self, name: str, parent_read: str) -> None:
        """End the parent's task as the child job did: the child's row says which task, under the parent's lock."""
        course = self.jobs[name]
        if course.todo is not Todo.SETTLE and mutants.planted != "settle-todo":
            return
        parent = key_of((parent_read if mutants.planted == "settle-stale" else course.parent_task) or "")
        self.jobs[name] = replace(course, todo=None)
        if self.tasks[parent].state is TaskState.RUNNING or mutants.planted == "settle-running":
            self.set_task(parent, scope=replace(self.scope(parent), todo=None))
            self.end_task(parent, TaskState(course.state))
