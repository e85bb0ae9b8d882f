"""go: start a container that this thread created, or follow it, or collect its end and its result."""

from __future__ import annotations

import logging
import math
import time

from engine import failpoints
from engine.errors import Gone, MachineFault, RuntimeUnavailable
from engine.model.last_words import READ_SECONDS
from engine.model.log_gap import cut_note
from engine.runtime.base import Cause, Control, Detached, LogSink, Outcome, Prepared, PreparedState
from engine.runtime.docker import architecture, blame, container, hands, results, sandbox, wait
from engine.runtime.docker.gate import Gate
from engine.runtime.docker.hands import Deed
from engine.runtime.docker.host import Host
from engine.runtime.docker.logs import Follower
from engine.runtime.docker.pulse import Pulse, Vanished
from engine.runtime.docker.verdict import judge

log = logging.getLogger(__name__)

#: Nobody stops or updates a container by hand that lives shorter: a good end is not looked at then.
_SHORT_SECONDS = 1.0
#: If a followed log sends no byte for this long after the container's end, its rest is read without following.
DRAIN_SECONDS = 5.0


def go(host: Host, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
    """Start, follow or collect the container; return how it ended. See engine.runtime.base."""
    is_mine = prepared.state is PreparedState.CREATED
    try:
        if is_mine:
            with host.activity.busy(), control.timings.span("starting"):
                refused = _start(host, prepared, control)
            if refused is not None:
                return refused
        return _follow(host, prepared, sink, control)
    except Gone:
        if is_mine:
            host.remove_work_directory(prepared.order)
        raise


def _start(host: Host, prepared: Prepared, control: Control) -> Outcome | None:
    """Start the container; return None when it runs, else the outcome of a link that never ran."""
    if control.detached:
        raise Detached
    if control.kill_for is not None:
        return Outcome(137, control.kill_for, "killed before it started")
    state = container.start(host.client, prepared.container_id)
    if state is None:
        failpoints.hit("go.started")
        return None
    sandbox.raise_if_died(host.client, prepared.order, state.error)
    refusal = blame.of_start(prepared.order, state.command, state.exit_code, state.error)
    if isinstance(refusal, MachineFault):
        if not container.remove(host.client, prepared.container_id, force=False):
            raise Gone(f"the start of container {prepared.container_id[:12]} was refused, but it runs")
        host.remove_work_directory(prepared.order)
        raise refusal
    message = str(refusal)
    if "exec format error" in message:
        message = architecture.why_foreign(host.client, prepared.container_id) or message
    return Outcome(state.exit_code, Cause.NOT_STARTED, message)


def _follow(host: Host, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
    client, container_id, order = host.client, prepared.container_id, prepared.order
    tail_bytes = min(results.TAIL_BYTES, host.settings.result_bytes) if order.kind == "main" else 0
    gate, is_behind = Gate(), prepared.state is not PreparedState.CREATED
    follower = Follower(client, container_id, sink, tail_bytes, control.detach, gate, is_behind=is_behind)
    # Before the log is read: what a second run wrote does not count.
    deed = _second_run(host, prepared, sink, gate)
    follower.start()
    failpoints.hit("go.followed")
    try:
        if prepared.state is PreparedState.EXITED:
            end, control = wait.collect(client, container_id, control), Control()
        elif deed is not None:
            end = wait.UNSEEN
        else:
            end, deed = _await_end(host, prepared, sink, control, gate)
        host.activity.touch()
        # The log of a cancelled task is taken for a while only (engine.model.last_words).
        most_seconds = READ_SECONDS if end.killed_for is Cause.CANCELLED else math.inf
        # A kill may come when the container has ended: it does not end the reading of its log.
        follower.finish(DRAIN_SECONDS, lambda: control.detached, most_seconds)
        if control.detached and not follower.is_complete:
            raise Detached
        verdict = judge(client, order, container_id, end, deed or Deed(), follower.last_error)
    except Vanished as exc:
        _collect_vanished(host, prepared, sink, follower, str(exc))
        raise
    finally:
        follower.stop()
    if not follower.is_complete:
        sink.note(cut_note(READ_SECONDS))
    result = None
    if order.kind == "main":
        result = results.from_file(host, prepared, sink)
        if result is None and follower.is_resumed and verdict.code == 0:
            result = results.from_log(host, prepared, sink)
        if result is None:
            result = results.from_tail(follower.tail(), tail_bytes, sink)
    return Outcome(verdict.code, verdict.cause, verdict.message, result)


def _second_run(host: Host, prepared: Prepared, sink: LogSink, gate: Gate) -> Deed | None:
    """End the second run of a container that somebody started again while no thread watched; None if nobody did."""
    if prepared.state is not PreparedState.RUNNING:
        return None
    state = container.inspect(host.client, prepared.container_id)
    if state is None or not state.was_started_again:
        return None
    deed = hands.look(host.client, state, wait.UNSEEN.code, sink)
    gate.close_at(deed.border)
    return deed


def _await_end(
    host: Host, prepared: Prepared, sink: LogSink, control: Control, gate: Gate
) -> tuple[wait.End, Deed]:
    """Wait for the container's end; return it with what somebody did to the container."""
    client, container_id, began = host.client, prepared.container_id, time.monotonic()
    end: wait.End | None = None
    pulse = Pulse(client, container_id, sink, lambda: gate.heard_at)
    try:
        with control.timings.span("running"):
            grace = host.settings.kill_grace_seconds
            end = wait.await_end(client, container_id, control, grace, pulse.act, gate)
        is_short = prepared.state is PreparedState.CREATED and time.monotonic() - began < _SHORT_SECONDS
        if end.killed_for is not None or (end.code == 0 and is_short):
            return end, Deed()
        gate.hold()
        # A daemon that shuts down ends its containers, and may answer only when it is back.
        state = wait.inspect_when_reachable(client, container_id)
        deed = hands.look(client, state, end.code, sink)
        gate.close_at(deed.border)
        return end, deed
    except Gone:
        if end is None or end.code:
            raise
        return end, Deed()
    finally:
        gate.release()


def _collect_vanished(host: Host, prepared: Prepared, sink: LogSink, follower: Follower, reason: str) -> None:
    """Store the rest of the log of a container without processes, and remove it, so that the link runs again."""
    follower.finish(DRAIN_SECONDS, bool)
    sink.note(f"{reason} (containerd or a shim was killed): it is removed, and the link runs again")
    try:
        container.remove(host.client, prepared.container_id, force=True)
    except RuntimeUnavailable as exc:
        # Docker goes on with it, or the next look at this name tries again.
        log.warning("container %s without a process is not removed yet: %s", prepared.container_id[:12], exc)
