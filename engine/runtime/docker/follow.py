"""go: start a container that this thread created, or follow it, or collect its end and its result."""

from __future__ import annotations

import threading

from engine import failpoints
from engine.errors import Gone, MachineFault
from engine.runtime.base import Cause, Control, Detached, LogSink, Outcome, Prepared, PreparedState
from engine.runtime.docker import blame, container, results, sandbox, wait
from engine.runtime.docker.host import Host
from engine.runtime.docker.logs import Follower
from engine.runtime.docker.verdict import judge

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
    return Outcome(state.exit_code, Cause.NOT_STARTED, str(refusal))


def _follow(host: Host, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
    client, container_id, order = host.client, prepared.container_id, prepared.order
    result_bytes = host.settings.result_bytes
    tail_bytes = min(results.TAIL_BYTES, result_bytes) if order.kind == "main" else 0
    follower = Follower(client, container_id, sink, tail_bytes, control.detach)
    follower.start()
    failpoints.hit("go.followed")
    try:
        if prepared.state is PreparedState.EXITED:
            end, control = wait.collect(client, container_id, control), Control()
        else:
            with control.timings.span("running"):
                end = wait.await_end(client, container_id, control, host.settings.kill_grace_seconds)
        host.activity.touch()
        # The request that ended the container does not also end the reading of its log; a later one does.
        interruption = threading.Event() if end.killed_for is not None else control.changed
        follower.finish(DRAIN_SECONDS, interruption)
        if control.detached and not follower.is_complete:
            raise Detached
        verdict = judge(client, order, container_id, end, follower.last_error)
    finally:
        follower.stop()
    result = None
    if order.kind == "main":
        result = results.from_file(host, prepared, sink)
        if result is None and follower.is_resumed and verdict.code == 0:
            result = results.from_log(host, prepared)
        if result is None:
            result = results.decode(follower.tail())
    return Outcome(verdict.code, verdict.cause, verdict.message, result)
