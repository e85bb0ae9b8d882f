"""The meaning of a container's end: success, failure, out of memory, killed, or never started."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from docker.errors import APIError

from engine.errors import Gone
from engine.runtime.base import Cause, Order
from engine.runtime.docker import architecture, container, messages, sandbox
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.hands import BY_SIGNAL, Deed
from engine.runtime.docker.wait import End, inspect_when_reachable
from engine.wording import exit_codes
from engine.wording.times import seconds_since_1970

#: dockerd gives containers 15 s to end when it shuts down.
_SHUTDOWN_SECONDS = 20.0

#: Words for what ended a link by Ferryman's own hand; the stages of a worker say more.
_KILL_REASONS = {Cause.TIMEOUT: "its time was up", Cause.CANCELLED: "the task was cancelled"}
_UNSEEN = (
    "it ended unseen, and a restart policy that somebody set (docker update --restart) started it again: "
    "the exit code of its only run that counts is lost"
)


@dataclass(frozen=True)
class Verdict:
    """Meaning of a container's end."""

    code: int
    cause: Cause
    message: str | None


def judge(
    client: Client, order: Order, container_id: str, end: End, deed: Deed, last_error: bytes = b""
) -> Verdict:
    """Return the meaning of the end. `last_error` is the last piece of standard error, where docker-init reports.

    `deed` is what somebody did to the container.

    If the daemon's own restart ended the container, the task has not ended: the dead container is removed, so that
    the next look does not find it, and Gone is raised.
    """
    if end.killed_for is not None:
        # A task that catches TERM and exits with 0 has not succeeded.
        code = end.code or 128 + signal.SIGTERM
        return Verdict(code, end.killed_for, f"killed: {_KILL_REASONS.get(end.killed_for, end.killed_for)}")
    if end.code == 0 and not deed.words:
        return Verdict(0, Cause.EXITED, None)
    if (never_ran := _never_ran(client, container_id, end.code, last_error)) is not None:
        return never_ran
    state = inspect_when_reachable(client, container_id)
    if state.status in ("removing", "dead"):
        # A removal by force kills first.
        raise Gone(f"container {container_id[:12]} is being removed")
    if state.is_out_of_memory:
        return Verdict(end.code, Cause.OUT_OF_MEMORY, _memory_error(order))
    if _died_with_daemon(client, deed.first_end or state.finished_at, end):
        container.remove(client, container_id, force=False)
        raise Gone(f"Docker restarted, which ended container {container_id[:12]}")
    if order.sandbox is not None and not sandbox.is_running(client, order.sandbox):
        return Verdict(end.code, Cause.SANDBOX_LOST, f"the sandbox {order.sandbox} that it joined died")
    if deed.words or not end.is_known:
        return Verdict(end.code or 128 + signal.SIGTERM, Cause.KILLED, deed.words or _UNSEEN)
    if end.code == 128 + signal.SIGKILL and order.memory_bytes is not None:
        # On a busy machine Docker misses some of the kernel's kills (one in ten of six at once, cgroup v1).
        guess = f"perhaps because it ran out of memory: it had {order.memory_bytes >> 20} MB"
        return Verdict(end.code, Cause.EXITED, f"{exit_error(end.code)}, {guess}")
    return Verdict(end.code, Cause.EXITED, exit_error(end.code))


def _never_ran(client: Client, container_id: str, code: int, last_error: bytes) -> Verdict | None:
    """Return the meaning of the end if docker-init could not run the command, or not on this processor."""
    # What docker-init cannot run because of its processor it passes to the image's shell.
    may_be_foreign = code in (2, 126, 127) or b"xec format error" in last_error
    if may_be_foreign and (reason := architecture.why_foreign(client, container_id)):
        return Verdict(code, Cause.NOT_STARTED, reason)
    if code in (126, 127) and (failure := messages.init_failure(last_error)):
        return Verdict(code, Cause.NOT_STARTED, _command_error(code, *failure))
    return None


def _command_error(code: int, command: str, reason: str) -> str:
    problem = "is not in the image" if code == 127 else "cannot be executed"
    return f"the command {command!r} {problem} ({reason})"


def exit_error(code: int) -> str | None:
    """Return the words for an exit code with a meaning, None for an ordinary failure."""
    # 125 and 128 are Docker's only if it refused to start; a command that ran may end with them too.
    has_meaning = code in (126, 127) or 128 < code <= 192
    return f"exit code {code}: {exit_codes.meaning(code)}" if has_meaning else None


def _memory_error(order: Order) -> str:
    limit = "" if order.memory_bytes is None else f"it had {order.memory_bytes >> 20} MB; "
    return f"out of memory: {limit}give it more with limits: {{memory: …}}"


def _died_with_daemon(client: Client, finished_at: str, end: End) -> bool:
    """Return True if the daemon's end ended the container, judged by the age of the bridge network.

    Each start of the daemon makes the bridge again. With live-restore and running containers the bridge stays, and
    so do the containers.
    """
    if end.has_broken and end.code in BY_SIGNAL:
        return True
    try:
        with translated("asking when the daemon started"):
            started = seconds_since_1970(client.api.inspect_network("bridge")["Created"])
            finished = seconds_since_1970(finished_at)
    except (APIError, ValueError, KeyError):
        # Without a bridge only the broken connection shows a restart.
        return False
    if started - _SHUTDOWN_SECONDS <= finished <= started + 5:
        return True
    return finished < started and end.code in BY_SIGNAL
