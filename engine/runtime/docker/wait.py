"""Waiting for a container's end, and killing the container when asked to.

Only the answer of wait, or the state exited, is an end; the end of a stream is not.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.errors import ErrorAnswer, Gone, RuntimeUnavailable
from engine.runtime.base import Cause, Control, Detached
from engine.runtime.docker import container, hands
from engine.runtime.docker.client import Client
from engine.runtime.docker.container import State
from engine.runtime.docker.gate import Gate

#: How often a waiting thread looks at its control.
TICK_SECONDS = 0.1


@dataclass(frozen=True)
class End:
    """End of a container as the daemon reported it."""

    code: int
    #: Set if Ferryman killed it.
    killed_for: Cause | None
    #: The connection broke while waiting: the daemon may have restarted.
    has_broken: bool
    #: False: nobody saw the end of the first run, because the container was started again meanwhile.
    is_known: bool = True


#: End of a first run that nobody saw.
UNSEEN = End(128 + signal.SIGKILL, None, has_broken=False, is_known=False)


class _Killer:
    """Execution of what the control asks: TERM, a grace period, KILL; or detaching."""

    def __init__(
        self,
        client: Client,
        container_id: str,
        control: Control,
        grace_seconds: float,
        on_tick: Callable[[], object] = bool,
    ) -> None:
        self._on_tick = on_tick
        self._client = client
        self._id = container_id
        self._control = control
        self._grace_seconds = grace_seconds
        self._kill_at = 0.0
        self._give_up_at = 0.0
        self.cause: Cause | None = None

    def raise_if_detached(self) -> None:
        """Raise Detached if the control asks for it."""
        if self._control.detached:
            raise Detached

    def act(self) -> None:
        """Do what is due now. Raises Detached; RuntimeUnavailable if the container survives KILL."""
        if not self._control.changed.is_set():
            self._on_tick()
            return
        self.raise_if_detached()
        now = time.monotonic()
        if self.cause is None:
            self.cause = self._control.kill_for
            # A grace would let a link that fills a disk write on.
            self._kill_at = now + (0.0 if self.cause is Cause.OUTPUT else self._grace_seconds)
            self._give_up_at = self._kill_at + self._client.timeout
            container.kill(self._client, self._id, "SIGTERM")
        elif now > self._give_up_at:
            raise RuntimeUnavailable(f"container {self._id[:12]} still runs although it was killed")
        elif now >= self._kill_at:
            self._kill_at = now + 1.0
            container.kill(self._client, self._id, "SIGKILL")


def await_end(
    client: Client,
    container_id: str,
    control: Control,
    grace_seconds: float,
    on_tick: Callable[[], object] = bool,
    gate: Gate | None = None,
) -> End:
    """Wait until the container has ended; kill it, or detach from it, when `control` asks.

    `on_tick` is called while the container runs. `gate` is held while nobody knows whether the container was started
    again, and stays held at the end. Raises Gone, Detached, RuntimeUnavailable (the daemon is silent for
    its whole time-out).
    """
    killer, has_broken = _Killer(client, container_id, control, grace_seconds, on_tick), False
    while True:
        try:
            return End(_wait(client, container_id, killer), killer.cause, has_broken)
        except RuntimeUnavailable as exc:
            if gate is not None:
                gate.hold()
            # A daemon that answers with an error runs.
            has_broken = has_broken or not isinstance(exc, ErrorAnswer)
            state = inspect_when_reachable(client, container_id, killer)
            if state.has_ended:
                return End(state.exit_code, killer.cause, has_broken)
            if state.was_started_again:
                return replace(UNSEEN, killed_for=killer.cause, has_broken=has_broken)
            if gate is not None:
                gate.release()
            time.sleep(TICK_SECONDS)


def collect(client: Client, container_id: str, control: Control) -> End:
    """Return the end of a container that had exited before this thread came.

    The end counts as it is, even if the link's time is over by now. The exception is a container that was killed for
    what `control` asks, by a worker that died before it could record that. Raises Gone, RuntimeUnavailable.
    """
    end, cause = await_end(client, container_id, Control(), 0.0), control.kill_for
    if cause is None:
        return end
    was_killed = end.code in hands.BY_SIGNAL or hands.signal_sent(
        client, inspect_when_reachable(client, container_id)
    )
    return replace(end, killed_for=cause) if was_killed else end


def _wait(client: Client, container_id: str, killer: _Killer) -> int:
    killer.act()
    with client.exchange("POST", f"/containers/{container_id}/wait") as exchange:
        while not exchange.read_head(TICK_SECONDS):
            killer.act()
        if exchange.status == 404:
            raise Gone(f"container {container_id[:12]} is gone")
        exchange.raise_if_failed()
        body = b""
        while (piece := exchange.read(TICK_SECONDS)) != b"":
            body += piece or b""
            killer.act()
    try:
        return int(json.loads(body)["StatusCode"])
    except (ValueError, KeyError, TypeError):
        raise RuntimeUnavailable("Docker ended a wait without an exit code") from None


def inspect_when_reachable(client: Client, container_id: str, killer: _Killer | None = None) -> State:
    """Return the container's state as soon as the daemon answers on a new connection.

    A daemon that is shutting down still answers on open connections, but accepts no new ones; its answers on the
    open ones are not final. Raises Gone, Detached; RuntimeUnavailable if the daemon stays silent.
    """
    deadline = time.monotonic() + client.timeout
    while True:
        try:
            if killer is not None:
                killer.raise_if_detached()
            with client.exchange("GET", "/_ping") as ping:
                ping.read_head(client.timeout)
            state = container.inspect(client, container_id)
            # Only then: what ended while a signal was being sent needs no further one.
            if killer is not None and state is not None and not state.has_ended:
                killer.act()
        except RuntimeUnavailable:
            # A signal that could not be sent is sent when the daemon answers again.
            if time.monotonic() > deadline:
                raise
            time.sleep(TICK_SECONDS)
            continue
        if state is None:
            raise Gone(f"container {container_id[:12]} is gone")
        return state
