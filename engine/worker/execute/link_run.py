"""One link from prepare to its recorded end: the same way for fresh and for adopted work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from engine import failpoints
from engine.errors import (
    Gone,
    HostAccessDenied,
    NotOurs,
    RuntimeUnavailable,
    SandboxGone,
    StoreUnavailable,
    Unstartable,
)
from engine.lifecycle import confirm, finish, restart
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import resume
from engine.lifecycle.finish import Finished
from engine.lifecycle.sandbox import leave_sandbox
from engine.runtime.base import Cause, Control, Detached, Outcome, Prepared, PreparedState
from engine.worker.context import WorkerContext
from engine.worker.execute.log_writer import LogWriter
from engine.worker.running import RunningLink

log = logging.getLogger("ferryman.link")
T = TypeVar("T")


def carry(context: WorkerContext, assignment: Assignment) -> Finished | None:
    """Prepare, confirm, go, finish. Returns what follows, or None when this thread does not speak for the link.

    None is no failure: it was cancelled, fenced, detached, or Docker or the container went away. The row still
    names a node, so take_over, self_take_over or give_back goes on where this ended.
    """
    control = Control()
    link = RunningLink(assignment.token, control, assignment.order.sandbox)
    if not context.running.take(link):
        return None
    if context.leaving.is_set():
        control.detach()  # it was claimed just before, and came after all others were told
    clock = _limit(assignment, control)
    try:
        with control.timings.span("ending"):
            return _carry(context, assignment, control)
    except SandboxGone as exc:
        again = _rerun_without_sandbox(context, assignment, control, str(exc))
    except (NotOurs, Gone, RuntimeUnavailable, StoreUnavailable, Detached) as exc:
        if isinstance(exc, RuntimeUnavailable):
            context.doubt.set()
        log.info("%s %s: let go: %s", assignment.task_name, assignment.link_name, exc or type(exc).__name__)
        return None
    finally:
        if clock is not None:
            clock.cancel()
        context.running.drop(link)
    return carry(context, again) if again is not None else None


def _rerun_without_sandbox(
    context: WorkerContext, assignment: Assignment, control: Control, why: str
) -> Assignment | None:
    """The same link under a new token, without the sandbox that is gone; None: it is not ours any more."""
    context.sandboxes.suspend()
    try:
        token = retry_until_store_answers(
            control, lambda: leave_sandbox(context.installation, assignment.token, context.node_id, why)
        )
        return resume(context.installation, token, context.node_id) if token is not None else None
    except (StoreUnavailable, Detached) as exc:
        # The row names this node: it takes it up again, and finds the sandbox gone again.
        log.info("%s %s: let go: %s", assignment.task_name, assignment.link_name, exc)
        return None


def _limit(assignment: Assignment, control: Control) -> threading.Timer | None:
    if assignment.seconds_left is None:
        return None
    clock = threading.Timer(assignment.seconds_left, control.kill, (Cause.TIMEOUT,))
    clock.daemon = True
    clock.start()
    return clock


def _carry(context: WorkerContext, assignment: Assignment, control: Control) -> Finished | None:
    sink = LogWriter(context.installation, assignment, control)
    prepared: Prepared | None = None
    try:
        prepared = _prepare(context, assignment, sink, control)
        if prepared is None:
            return None
        with control.timings.span("creating"):
            is_mine = retry_until_store_answers(
                control, lambda: confirm.confirm(context.installation, assignment, prepared.container_id)
            )
        if not is_mine:
            if prepared.state is PreparedState.CREATED:
                context.runtime.discard(prepared)
            return None
        try:
            outcome = context.runtime.go(prepared, sink, control)
        except SandboxGone:
            # Never started, though it is the link's: the next delivery makes another of this name.
            context.runtime.discard(prepared)
            raise
        failpoints.hit("go.ended")
    except Unstartable as exc:
        # Refused before or at its start: an end of the link, in words for its owner.
        outcome = Outcome(exc.exit_code or 125, Cause.NOT_STARTED, str(exc))
    except Detached:
        if control.kill_for is not Cause.TIMEOUT or prepared is not None:
            raise
        outcome = Outcome(137, Cause.TIMEOUT, "")  # while it was pulling
    finally:
        sink.close()
    if sink.is_behind:
        # Not finished yet: whoever takes the row up collects the rest of the log, then records the end.
        raise StoreUnavailable("the container's log is not stored yet")
    timings = _timings(assignment, prepared, control)
    return _finish(context, assignment, prepared, replace(outcome, timings=timings))


def _timings(assignment: Assignment, prepared: Prepared | None, control: Control) -> dict[str, int]:
    """What this thread saw of the link's steps; of a container that it found, only the end."""
    timings = dict(control.timings.in_ms())
    if prepared is not None and prepared.state is not PreparedState.CREATED:
        timings = {"ending": timings.get("ending", 0)}
    if assignment.order.sandbox is None:
        timings.pop("sandbox", None)
    return timings if assignment.waited_ms is None else {"waiting": assignment.waited_ms, **timings}


def _prepare(
    context: WorkerContext, assignment: Assignment, sink: LogWriter, control: Control
) -> Prepared | None:
    try:
        with control.timings.span("sandbox"):
            context.sandboxes.create_reserved(assignment.order)
        with control.timings.span("creating"):
            prepared = context.runtime.prepare(assignment.order, sink, control)
    except Gone as exc:
        _give_back(context, assignment, control, str(exc))
        return None
    except HostAccessDenied as exc:
        if assignment.order.origin == assignment.token.delivery:
            # It claimed the run itself: a claim anew would end no better.
            raise
        _give_back(context, assignment, control, f"this worker may not go on with it: {exc}")
        return None
    except Detached:
        if context.leaving.is_set() and control.detached and _made_nothing(assignment):
            restart.give_back(
                context.installation, assignment.token, "its worker left before a container was made"
            )
        raise
    failpoints.hit("prepare.created")
    return prepared


def _give_back(context: WorkerContext, assignment: Assignment, control: Control, why: str) -> None:
    retry_until_store_answers(control, lambda: restart.give_back(context.installation, assignment.token, why))
    # What the run leaves here is nobody's now.
    context.sweeper.soon()


def _made_nothing(assignment: Assignment) -> bool:
    """Of a run that this thread claimed itself, and whose first `prepare` let go, no container exists.

    Nobody could find it on a daemon: it would wait for the whole `restart_grace`.
    """
    return assignment.order.index == 0 and assignment.order.origin == assignment.token.delivery


def _finish(
    context: WorkerContext, assignment: Assignment, prepared: Prepared | None, outcome: Outcome
) -> Finished | None:
    if outcome.cause is Cause.SANDBOX_LOST:
        context.sandboxes.suspend()
        _give_back(context, assignment, Control(), "the sandbox of its network died")
        return None
    if outcome.cause is Cause.TIMEOUT:
        words = f"timed out after {assignment.bound}"
        outcome = replace(outcome, exit_code=outcome.exit_code or 137, message=words)
    container_id = prepared.container_id if prepared else None
    finished = retry_until_store_answers(
        # Detaching does not stop a finish: the end is known, and the row wants it.
        Control(),
        lambda: finish.finish_link(context.installation, assignment, container_id, outcome),
    )
    if finished is None:
        # Cancelled, most likely: its container and volume are nobody's now.
        context.sweeper.soon()
    elif finished.next_index is None:
        order = assignment.order
        context.sweeper.remove_run(
            replace(order, sandbox=None) if context.sandboxes.recycle(order) else order
        )
    return finished


def retry_until_store_answers(control: Control, verb: Callable[[], T]) -> T:
    """Call a verb until the database answers: a store that is away for 30 s costs nothing but the wait.

    Raises Detached when told to let go meanwhile. A verb that may have committed is safe to call again: its
    guard refuses the second time, and the row is then taken up anew.
    """
    while True:
        try:
            return verb()
        except StoreUnavailable as exc:
            log.warning("the database is away: %s", exc)
            told = control.changed.wait(0.5)
            if control.detached:
                raise Detached from exc
            if told:
                time.sleep(0.5)  # to kill, which waits for the database as well: `changed` stays set
