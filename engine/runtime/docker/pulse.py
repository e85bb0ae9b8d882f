"""Pulse of a running container: Docker may call one running whose processes are gone.

That happens when containerd or a shim is killed: no end is reported, and the link would keep its slot for ever. What is
silent is therefore looked at each minute, and is gone when it was gone twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from docker.errors import APIError

from engine.errors import Gone, RuntimeUnavailable
from engine.runtime.base import LogSink
from engine.runtime.docker import container, hands
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.container import State

log = logging.getLogger(__name__)

#: The first look comes soon, to learn whether the container's process can be seen from here.
FIRST_SECONDS = 1.0
#: Time between two looks, and the silence after which a container is asked for its processes.
EVERY_SECONDS = 60.0
#: Running containers of the daemon that are asked, to know that asking works.
_MOST_WITNESSES = 3


class Vanished(Gone):
    """Error for a container whose processes are gone although Docker calls it running."""


class Pulse:
    """Looks at one running container, by the thread that waits for its end."""

    def __init__(
        self, client: Client, container_id: str, sink: LogSink, heard_at: Callable[[], float]
    ) -> None:
        """Take as `heard_at` the time, by the monotonic clock, of the last output."""
        self._client = client
        self._id = container_id
        self._sink = sink
        self._heard_at = heard_at
        self._next = time.monotonic() + FIRST_SECONDS
        #: The process was seen here: workers and daemon share process ids.
        self._was_seen = False
        self._is_paused = False
        self._times_gone = 0

    def act(self) -> None:
        """Look if a look is due. Raises Vanished."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        try:
            state = container.inspect(self._client, self._id)
            if state is not None:
                self._look(state, is_silent=now - self._heard_at() >= EVERY_SECONDS)
        except RuntimeUnavailable as exc:
            log.debug("container %s is looked at later: %s", self._id[:12], exc)

    def _look(self, state: State, *, is_silent: bool) -> None:
        hands.take_back_policy(self._client, state, self._sink)
        if state.status == "paused" and not self._is_paused:
            self._sink.note("its container was paused (docker pause): it goes on after docker unpause")
        self._is_paused = state.status == "paused"
        if state.status != "running":
            self._times_gone = 0
        elif is_seen(state):
            self._was_seen, self._times_gone = True, 0
        elif is_silent or self._was_seen:
            self._count(state)

    def _count(self, state: State) -> None:
        """Count a look that found no process. Raises Vanished at the second in a row."""
        if has_processes(self._client, state.id):
            self._times_gone = 0
            return
        if not (self._was_seen or _answers_about_another(self._client, state.id)):
            # Asking may not work here at all: that proves nothing.
            log.debug("container %s: its processes cannot be seen from here", state.id[:12])
            return
        self._times_gone += 1
        log.warning(
            "container %s has no process, although Docker calls it running (time %d)",
            state.id[:12],
            self._times_gone,
        )
        if self._times_gone > 1:
            raise Vanished(f"container {state.id[:12]} has no process, although Docker calls it running")


def is_alive(client: Client, state: State) -> bool:
    """Return True if a container that Docker calls running has a process, as far as can be told."""
    return is_seen(state) or has_processes(client, state.id)


def is_seen(state: State) -> bool:
    """Return True if the container's first process is visible here, as a process of this container that lives."""
    process = Path(f"/proc/{state.pid}")
    try:
        # The name, in brackets, may hold anything; the letter of the state follows it.
        is_dead = (process / "stat").read_text().rpartition(") ")[2][:1] in ("Z", "X")
        return not is_dead and state.id in (process / "cgroup").read_text()
    except OSError:
        return False


def has_processes(client: Client, container_id: str) -> bool:
    """Return True if Docker names a process of the container; False if it names none, or answers with an error."""
    try:
        with translated("asking for the processes of a container"):
            return bool(client.api.top(container_id)["Processes"])
    except (APIError, RuntimeUnavailable):
        return False


def _answers_about_another(client: Client, container_id: str) -> bool:
    """Return True if asking for processes works for another running container of this daemon."""
    with translated("listing running containers"):
        running = client.api.containers(filters={"status": ["running"]})
    others = [str(item["Id"]) for item in running if item["Id"] != container_id]
    return any(has_processes(client, id) for id in others[:_MOST_WITNESSES])
