"""The run of one link, from prepare to its recorded end: the same for fresh and for adopted work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Concatenate, ParamSpec, TypeVar

from engine import failpoints
from engine.errors import (
    Gone,
    HostAccessDenied,
    MachineFault,
    NotOurs,
    RuntimeUnavailable,
    SandboxGone,
    StoreUnavailable,
    Unstartable,
)
from engine.lifecycle import confirm, finish, restart
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import resume
from engine.lifecycle.finish import FollowUp
from engine.lifecycle.installation import Installation
from engine.lifecycle.sandbox import leave_sandbox
from engine.model.records import Caller
from engine.runtime.base import Cause, Control, Detached, LogSink, Outcome, Prepared, PreparedState
from engine.worker.context import WorkerContext
from engine.worker.execute.stages import STAGES
from engine.worker.running import RunningLink

log = logging.getLogger("ferryman.link")
P = ParamSpec("P")
T = TypeVar("T")


class LinkRun:
    """The run of one link in one thread, under the token of its assignment.

    The stages do the work around the container (engine/worker/execute/stages); this class prepares, confirms and
    starts the container, and records how it ended.
    """

    sink: LogSink

    def __init__(self, context: WorkerContext, assignment: Assignment) -> None:
        self.context = context
        self.assignment = assignment
        self.control = Control()
        self.prepared: Prepared | None = None
        #: A confirm may have been committed: a container of the link may run.
        self._may_run = False
        self._stages = [stage(self) for stage in STAGES]

    def run(self) -> FollowUp | None:
        """Run the link to its recorded end. Return what follows, or None when this thread let go of the link.

        None is not a failure: the link was cancelled, fenced or detached, or Docker or the container went away. The
        row still names a node, so take_over, self_take_over or give_back continues from here.
        """
        context, assignment = self.context, self.assignment
        link = RunningLink(assignment.token, self.control, assignment.order.sandbox)
        if not context.running.add(link):
            return None
        if context.leaving.is_set():
            self.control.detach()  # claimed just before, and missed by the detaching of all links
        try:
            with self.control.timings.span("ending"):
                outcome = self._run_in_stages()
                return self._record(outcome) if outcome is not None else None
        except SandboxGone as exc:
            successor = self._rerun_without_sandbox(str(exc))
        except MachineFault as exc:
            self._on_machine_fault(exc)
            return None
        except (NotOurs, Gone, RuntimeUnavailable, StoreUnavailable, Detached) as exc:
            self._log_let_go(exc)
            if isinstance(exc, RuntimeUnavailable):
                context.runtime_in_doubt.set()
                self._on_failure(exc)
            if isinstance(exc, Gone):
                context.running.lost_container(assignment.token.task_id, str(exc))
            return None
        except Exception as exc:
            # A defect, or an error that nobody expected.
            self._on_failure(exc)
            raise
        finally:
            context.running.remove(link)
        return successor.run() if successor is not None else None

    def _on_machine_fault(self, fault: MachineFault) -> None:
        """Hold the node and give the run back; let go the first time, if earlier links of the run have ended.

        Their work would be lost, and the row names this node, which tries the link again a few seconds later.
        """
        faults, order = self.context.faults, self.assignment.order
        faults.hold(order, fault)
        if faults.count(order) == 1 and order.index > 0:
            self._log_let_go(fault)
            return
        log.warning("%s %s: given back: %s", self.assignment.task_name, self.assignment.link_name, fault)
        self._give_back(Control(), str(fault), refused_link=order.index)

    def _on_failure(self, exc: Exception) -> None:
        """Hold the node when its daemon failed this link for the second time, and give back what has not begun.

        While no container of the link was confirmed, none has started. Otherwise the row names this node, which
        retakes the task.
        """
        order = self.assignment.order
        if self.context.faults.count(order) < 2:
            return
        if isinstance(exc, RuntimeUnavailable):
            self.context.faults.hold(order, MachineFault(str(exc)))
        if self.assignment.waits and not self._may_run:
            self._give_back(Control(), str(exc) or repr(exc), refused_link=order.index)

    def _run_in_stages(self) -> Outcome | None:
        """Return how the link ended, as the stages amend it; None when this thread let go of the link."""
        with ExitStack() as stack:
            for stage in self._stages:
                stage.before()
                stack.callback(stage.after)
            outcome = self._run_container()
        if outcome is not None:
            for stage in self._stages:
                outcome = stage.amend(outcome)
        return outcome

    def _run_container(self) -> Outcome | None:
        try:
            prepared = self.prepared = self._prepare()
            if prepared is None or not self._confirm(prepared):
                return None
            try:
                outcome = self.context.runtime.go(prepared, self.sink, self.control)
            except SandboxGone:
                # The container is the link's but was never started: the next delivery makes another of this name.
                self.context.runtime.discard(prepared)
                raise
            failpoints.hit("go.ended")
            return outcome
        except Unstartable as exc:
            # The container was refused before or at its start: the link ended, and the message is for its owner.
            return Outcome(exc.exit_code or 125, Cause.NOT_STARTED, str(exc))
        except Detached:
            if self.control.kill_for is not Cause.TIMEOUT or self.prepared is not None:
                raise
            return Outcome(137, Cause.TIMEOUT, "")  # timed out while pulling the image

    def _prepare(self) -> Prepared | None:
        """Find or make the container; None when the run was given back to any worker."""
        assignment, control = self.assignment, self.control
        try:
            with control.timings.span("creating"):
                prepared = self.context.runtime.prepare(assignment.order, self.sink, control)
        except Gone as exc:
            self._give_back(control, str(exc))
            return None
        except HostAccessDenied as exc:
            if assignment.order.run.origin == assignment.token.delivery:
                # This node claimed the run: a second claim would end the same.
                raise
            self._give_back(control, f"this worker may not continue it: {exc}")
            return None
        except Detached:
            if self.context.leaving.is_set() and control.detached and created_nothing(assignment):
                restart.give_back(
                    self.context.installation,
                    self.context.caller,
                    assignment.token,
                    "its worker left before it made a container",
                )
            raise
        failpoints.hit("prepare.created")
        return prepared

    def _confirm(self, prepared: Prepared) -> bool:
        """Make the container the link's own; discard the container of a refused thread."""
        self._may_run = True
        with self.control.timings.span("creating"):
            is_confirmed = self._retry_until_store_answers(
                self.control, confirm.confirm, self.assignment, prepared.container_id
            )
        if not is_confirmed and prepared.state is PreparedState.CREATED:
            self.context.runtime.discard(prepared)
        return is_confirmed

    def _record(self, outcome: Outcome) -> FollowUp | None:
        """Record the end of the link; None when the end was refused or the run was given back."""
        # A detached thread records too: the end is known. Hence a control of its own for the retries.
        control = Control()
        if outcome.cause is Cause.SANDBOX_LOST:
            self.context.sandboxes.suspend()
            self._give_back(control, "its sandbox died")
            return None
        container_id = self.prepared.container_id if self.prepared else None
        finished = self._retry_until_store_answers(
            control, finish.finish_link, self.assignment, container_id, outcome
        )
        for stage in self._stages:
            stage.recorded(finished)
        return finished

    def _give_back(self, control: Control, reason: str, refused_link: int | None = None) -> None:
        """Let any worker start the run again; what the run leaves on this node has no owner then."""
        self._retry_until_store_answers(
            control, restart.give_back, self.assignment.token, reason, refused_link=refused_link
        )
        self.context.sweeper.sweep_soon()

    def _rerun_without_sandbox(self, reason: str) -> LinkRun | None:
        """Return a run of the same link under a new token, without the lost sandbox; None when it was refused."""
        context = self.context
        context.sandboxes.suspend()
        try:
            token = self._retry_until_store_answers(
                self.control, leave_sandbox, self.assignment.token, reason
            )
            again = resume(context.installation, context.caller, token) if token is not None else None
        except (StoreUnavailable, Detached) as exc:
            # The row names this node: it retakes the task, and meets the lost sandbox again.
            self._log_let_go(exc)
            return None
        return LinkRun(context, again) if again is not None else None

    def _retry_until_store_answers(
        self,
        control: Control,
        verb: Callable[Concatenate[Installation, Caller, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a verb until the database answers: a database that is away for 30 s costs nothing but the wait.

        Raise Detached when the link is detached meanwhile. A verb that may have committed can be called again: its
        guard refuses the second call, and the row is then taken over again.
        """
        while True:
            try:
                return verb(self.context.installation, self.context.caller, *args, **kwargs)
            except StoreUnavailable as exc:
                log.warning("the database does not answer, trying again: %s", exc)
                is_told = control.changed.wait(0.5)
                if control.detached:
                    raise Detached from exc
                if is_told:
                    time.sleep(0.5)  # `changed` stays set after a kill, which waits for the database too

    def _log_let_go(self, exc: Exception) -> None:
        reason = str(exc) or type(exc).__name__
        log.info("%s %s: let go: %s", self.assignment.task_name, self.assignment.link_name, reason)


def created_nothing(assignment: Assignment) -> bool:
    """Return True for a first link that this thread claimed: until its `prepare` returns, no container exists.

    No other node could find anything of the run: the row would wait for the whole grace of a restart.
    """
    return assignment.order.index == 0 and assignment.order.run.origin == assignment.token.delivery
