"""The end of a container: waited for, brought about, and put into words.

Only State.exited, or the answer of wait, is an end; a stream that ends is not.
"""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import dataclass, replace

from docker.errors import APIError

from engine.errors import Gone, RuntimeUnavailable
from engine.runtime.base import Cause, Control, Detached, Order
from engine.runtime.docker import container, sandbox
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.container import State
from engine.wording import exit_codes
from engine.wording.times import seconds_since_1970

#: How often a waiting thread looks at its control.
TICK_SECONDS = 0.1
#: A container that dies by these was told to, by somebody.
_BY_SIGNAL = (128 + signal.SIGTERM, 128 + signal.SIGKILL, 255)
#: What docker-init (tini) writes when it cannot run the command.
_INIT_SAYS = re.compile(rb"\[FATAL tini \(\d+\)\] exec (.+?) failed: (.+)")
#: Docker tells of a signal after it was sent, which may be after the end that it brought.
_EVENT_SECONDS = 0.5
#: dockerd gives containers 15 s to end when it ends itself.
_SHUTDOWN_SECONDS = 20.0


@dataclass(frozen=True)
class End:
    """A container's end as the daemon told it."""

    code: int
    #: Set when we killed it.
    killed_for: Cause | None
    #: The connection broke on the way: the daemon may have restarted.
    has_broken: bool


@dataclass(frozen=True)
class Verdict:
    """What the end means."""

    code: int
    cause: Cause
    message: str | None


class _Killer:
    """Carries out what the control says: TERM, a grace, KILL; or lets go."""

    def __init__(self, client: Client, container_id: str, control: Control, grace_seconds: float) -> None:
        self._client = client
        self._id = container_id
        self._control = control
        self._grace_seconds = grace_seconds
        self._kill_at = 0.0
        self._give_up_at = 0.0
        self.why: Cause | None = None

    def look(self) -> None:
        """Do what is due now. Raises Detached; RuntimeUnavailable when KILL ends nothing."""
        if not self._control.changed.is_set():
            return
        if self._control.detached:
            raise Detached
        now = time.monotonic()
        if self.why is None:
            self.why = self._control.kill_for
            self._kill_at = now + self._grace_seconds
            self._give_up_at = self._kill_at + self._client.timeout
            container.kill(self._client, self._id, "SIGTERM")
        elif now > self._give_up_at:
            raise RuntimeUnavailable(f"container {self._id[:12]} does not end although it was killed")
        elif now >= self._kill_at:
            self._kill_at = now + 1.0
            container.kill(self._client, self._id, "SIGKILL")


def await_end(client: Client, container_id: str, control: Control, grace_seconds: float) -> End:
    """Wait until the container has ended, killing it or letting go of it as `control` says.

    Raises Gone, Detached, RuntimeUnavailable (the daemon stays silent for `docker_timeout`).
    """
    killer, has_broken = _Killer(client, container_id, control, grace_seconds), False
    while True:
        try:
            return End(_waited(client, container_id, killer), killer.why, has_broken)
        except RuntimeUnavailable:
            has_broken = True
            state = _when_back(client, container_id, killer)
            if state.has_ended:
                return End(state.exit_code, killer.why, has_broken)
            time.sleep(TICK_SECONDS)


def collect(client: Client, container_id: str, control: Control) -> End:
    """The end of what had exited before we came.

    It counts as it is, though its time may be over by now; unless it was killed, for that, by one of us who died
    before he could say so. Raises Gone, RuntimeUnavailable.
    """
    end, why = await_end(client, container_id, Control(), 0.0), control.kill_for
    if why is None:
        return end
    was_killed = end.code in _BY_SIGNAL or _sent_signal(client, _when_back(client, container_id))
    return replace(end, killed_for=why) if was_killed else end


def _waited(client: Client, container_id: str, killer: _Killer) -> int:
    killer.look()
    with client.exchange("POST", f"/containers/{container_id}/wait") as exchange:
        while not exchange.head(TICK_SECONDS):
            killer.look()
        if exchange.status == 404:
            raise Gone(f"container {container_id[:12]} is gone")
        body = b""
        while (piece := exchange.read(TICK_SECONDS)) != b"":
            body += piece or b""
            killer.look()
    try:
        return int(json.loads(body)["StatusCode"])
    except (ValueError, KeyError, TypeError):
        raise RuntimeUnavailable("Docker ended a wait without an exit code") from None


def _when_back(client: Client, container_id: str, killer: _Killer | None = None) -> State:
    """The container's state as soon as the daemon answers, on a connection of its own.

    A daemon that ends itself goes on answering on open connections, but takes no new ones: what it says then is
    not the last word. Raises Gone, Detached; RuntimeUnavailable when it stays silent.
    """
    deadline = time.monotonic() + client.timeout
    while True:
        try:
            if killer is not None:
                killer.look()
            with client.exchange("GET", "/_ping") as ping:
                ping.head(client.timeout)
            state = container.inspect(client, container_id)
        except RuntimeUnavailable:
            # A signal that could not be sent is due again once it answers.
            if time.monotonic() > deadline:
                raise
            time.sleep(TICK_SECONDS)
            continue
        if state is None:
            raise Gone(f"container {container_id[:12]} is gone")
        return state


def judge(client: Client, order: Order, container_id: str, end: End, last_error: bytes = b"") -> Verdict:
    """What the end means: well, failed, out of memory, killed by us or by others, or never begun.

    `last_error` is the last piece of standard error: docker-init, which runs the command, says there that it cannot.

    An end that came of the daemon's own restart is no end of the task: the dead container is removed, so that
    whoever looks again finds it absent, and Gone is raised.
    """
    if end.killed_for is not None:
        # A task that caught TERM and said 0 did not end well for it.
        code = end.code or 128 + signal.SIGTERM
        word = "its time was up" if end.killed_for is Cause.TIMEOUT else "the task was cancelled"
        return Verdict(code, end.killed_for, f"killed: {word}")
    if end.code == 0:
        return Verdict(0, Cause.EXITED, None)
    if end.code in (126, 127) and (said := _INIT_SAYS.match(last_error)):
        named, why = (part.decode("utf-8", "replace") for part in said.groups())
        return Verdict(end.code, Cause.NOT_STARTED, _never_ran(end.code, named, why))
    state = _when_back(client, container_id)
    if state.status in ("removing", "dead"):
        # A removal by force kills first.
        raise Gone(f"container {container_id[:12]} is being removed")
    if state.is_out_of_memory:
        return Verdict(end.code, Cause.OUT_OF_MEMORY, _memory_words(order))
    if _died_with_daemon(client, state, end):
        container.remove(client, container_id, force=False)
        raise Gone(f"Docker restarted and took container {container_id[:12]} with it")
    if order.sandbox is not None and not sandbox.is_running(client, order.sandbox):
        return Verdict(end.code, Cause.SANDBOX_LOST, f"its network's sandbox {order.sandbox} died")
    if end.code in _BY_SIGNAL and (name := _sent_signal(client, state)):
        return Verdict(end.code, Cause.KILLED, f"killed from outside by {name} (docker kill or docker stop)")
    if end.code == 128 + signal.SIGKILL and order.memory_bytes is not None:
        # On a busy machine Docker misses some of the kernel's kills (one in ten of six at once, cgroup v1).
        guess = f"perhaps since it ran out of memory: it had {order.memory_bytes >> 20} MB"
        return Verdict(end.code, Cause.EXITED, f"{exit_words(end.code)}, {guess}")
    return Verdict(end.code, Cause.EXITED, exit_words(end.code))


def _never_ran(code: int, named: str, why: str) -> str:
    if code == 127:
        return f"the command {named!r} is not in the image ({why})"
    return f"the command {named!r} cannot be executed ({why})"


def exit_words(code: int) -> str | None:
    """Return the words for an exit code that means something, None for an ordinary failure."""
    # 125 and 128 are Docker's only where it refused to start; a command that ran may end with them too.
    has_meaning = code in (126, 127) or 128 < code <= 192
    return f"exit code {code}: {exit_codes.meaning(code)}" if has_meaning else None


def _memory_words(order: Order) -> str:
    if order.memory_bytes is None:
        return "out of memory: give it more with limits: {memory: …}"
    return f"out of memory: it had {order.memory_bytes >> 20} MB; give it more with limits: {{memory: …}}"


def _died_with_daemon(client: Client, state: State, end: End) -> bool:
    """Whether the daemon's end ended the container, by the age of the bridge, which each start of it makes anew.

    With live-restore and running containers the bridge stays, and so does the container.
    """
    if end.has_broken and end.code in _BY_SIGNAL:
        return True
    try:
        with translated("asking since when the daemon runs"):
            began = seconds_since_1970(client.api.inspect_network("bridge")["Created"])
            finished = seconds_since_1970(state.finished_at)
    except (APIError, ValueError, KeyError):
        # A daemon without a bridge: only the broken connection tells.
        return False
    if began - _SHUTDOWN_SECONDS <= finished <= began + 5:
        return True
    return finished < began and end.code in _BY_SIGNAL


def _sent_signal(client: Client, state: State) -> str:
    """The signal that Docker was asked to send the container, "" when none: it keeps its last 256 events."""
    query = {"container": [state.id], "event": ["kill"]}
    text, deadline = b"", time.monotonic() + _EVENT_SECONDS
    try:
        # Both by the daemon's clock.
        params = {"since": f"{seconds_since_1970(state.finished_at) - 60:.6f}", "filters": json.dumps(query)}
        with client.exchange("GET", "/events", params) as exchange:
            while b"\n" not in text and (left := deadline - time.monotonic()) > 0:
                if exchange.head(left):
                    text += exchange.read(max(left, 0.01)) or b""
        sent = json.loads(text.splitlines()[0])["Actor"]["Attributes"]
    except (RuntimeUnavailable, ValueError, KeyError, IndexError):
        # Without the daemon's word it is an end by a signal whose sender is unknown.
        return ""
    sent_signal = str(sent.get("signal", ""))
    return exit_codes.signal_name(int(sent_signal)) if sent_signal.isdecimal() else sent_signal
