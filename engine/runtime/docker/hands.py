"""Hands on a link's container: docker stop, kill, restart, pause and update --restart, each told for what it is.

A container runs once. If somebody, or a restart policy that somebody set, starts it again, only its first run counts:
the second is ended, and its output is not kept.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from engine.errors import ErrorAnswer, RuntimeUnavailable
from engine.runtime.base import LogSink
from engine.runtime.docker import container
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.container import State
from engine.runtime.docker.http import Exchange
from engine.wording import exit_codes
from engine.wording.times import seconds_since_1970

log = logging.getLogger(__name__)

#: Exit codes of a container that may have died by a signal from somebody.
BY_SIGNAL = (128 + signal.SIGTERM, 128 + signal.SIGKILL, 255)
#: Signals that are sent to end a program; any other may be for the program's own use.
_ENDING = ("SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGHUP", "SIGABRT")
_NO_RESTART: Any = {"Name": "no"}
_ACTIONS = ("kill", "die", "stop", "restart")
#: Docker reports a signal after sending it, possibly after the end that the signal caused.
_EVENT_SECONDS = 0.5
#: Longest time between the events of one `docker stop` or `docker restart`.
_NEXT_EVENT_SECONDS = 0.3
#: Output is stamped up to this much later than the end of its process; no second run begins so soon.
_LATE_OUTPUT_NANOSECONDS = 50_000_000
#: Longest wait for the end of a second run after SIGKILL.
_KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Deed:
    """Deed of somebody on a container; the default is none."""

    #: Name of the first signal that somebody sent to end it.
    signal: str = ""
    #: The command that was given, as far as Docker's events show it.
    command: str = ""
    #: Stamp of the end of the first run, if the container was started again: output after it is not kept.
    border: str = ""
    #: When the first run ended, if the container was started again.
    first_end: str = ""

    @property
    def words(self) -> str:
        """The end in words, "" if nobody caused it."""
        if self.command == "docker restart":
            return "restarted from outside (docker restart): only its first run counts, and that was cut off"
        return f"killed from outside by {self.signal} ({self.command})" if self.signal else ""


def look(client: Client, state: State, code: int, sink: LogSink) -> Deed:
    """Return what somebody did around the end of a container; end its second run. Raises RuntimeUnavailable."""
    if state.status in ("removing", "dead"):
        return Deed()
    if not state.was_started_again:
        if code not in BY_SIGNAL and not _was_signalled(client, state):
            return Deed()
        deed = replace(_read_events(client, state), border="")
        if deed.command not in ("docker stop", "docker restart"):
            return deed
        # Inspect waits for a start in progress.
        later = container.inspect(client, state.id)
        if later is None or not later.was_started_again:
            return deed
        state = later
    return _end_second_run(client, state, sink)


def take_back_policy(client: Client, state: State, sink: LogSink) -> None:
    """Undo a restart policy that somebody set: a link's container runs once. Raises RuntimeUnavailable."""
    if not state.has_restart_policy:
        return
    with translated("taking back a restart policy"):
        client.api.update_container(state.id, restart_policy=_NO_RESTART)
    sink.note(
        "somebody gave its container a restart policy (docker update --restart): it was taken back, "
        "because a link runs once"
    )


def _end_second_run(client: Client, state: State, sink: LogSink) -> Deed:
    """End the second run of a container; return how it came about."""
    is_by_policy = state.has_restart_policy
    take_back_policy(client, state, sink)
    container.kill(client, state.id, "SIGKILL")
    deadline = time.monotonic() + _KILL_SECONDS
    while (now := container.inspect(client, state.id)) is not None and not now.has_ended:
        if time.monotonic() > deadline:
            raise ErrorAnswer(f"container {state.id[:12]}, which somebody started again, cannot be killed")
        time.sleep(0.05)
    before = _read_events(client, state)
    border = before.border
    if not border or border > _stamp(_nanoseconds(state.started_at)):
        # A daemon that restarted has forgotten the first end, and tells the second.
        border = _stamp(_nanoseconds(state.finished_at) + _LATE_OUTPUT_NANOSECONDS)
    sink.note(
        "its container was started again after its end: the second run was ended, and left out of the log"
    )
    deed = Deed() if is_by_policy else replace(before, command="docker restart")
    return replace(deed, border=border, first_end=state.finished_at)


def signal_sent(client: Client, state: State) -> str:
    """Return the signal that Docker was asked to send the container, "" if none is among its last 256 events."""
    return _read_events(client, state).signal


class _Deadline:
    """Moment until which events are awaited; each event moves it."""

    def __init__(self) -> None:
        self.extend(_EVENT_SECONDS)

    def extend(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._at - time.monotonic()


def _was_signalled(client: Client, state: State) -> bool:
    """Return True if a signal preceded the end, by what Docker reported until then: no wait."""
    try:
        events = list(_events(client, state, _Deadline(), state.finished_at))
        return any(event["Action"] == "kill" and _signal(event) in _ENDING for event in events)
    except (RuntimeUnavailable, ValueError, KeyError):
        return False


def _read_events(client: Client, state: State) -> Deed:
    """Return what the events around the end show; without an answer nobody did anything."""
    deed, deadline = Deed(), _Deadline()
    try:
        for event in _events(client, state, deadline):
            action = event["Action"]
            deadline.extend(_EVENT_SECONDS if action == "kill" else _NEXT_EVENT_SECONDS)
            if action == "kill" and not deed.signal and _signal(event) in _ENDING:
                deed = replace(deed, signal=_signal(event), command="docker kill")
            elif action == "die" and not deed.border:
                deed = replace(deed, border=_stamp(event["timeNano"]))
            elif action == "stop":
                deed = replace(deed, command="docker stop")
            elif action == "restart":
                return replace(deed, command="docker restart")
    except (RuntimeUnavailable, ValueError, KeyError):
        log.debug("no events of container %s: the sender of a signal is unknown", state.id[:12])
    return deed


def _events(client: Client, state: State, deadline: _Deadline, until: str = "") -> Iterator[dict[str, Any]]:
    """Yield the container's events from a minute before its last end on, until the deadline."""
    query = {"container": [state.id], "event": list(_ACTIONS)}
    # All times are by the daemon's clock.
    params = {"since": f"{seconds_since_1970(state.finished_at) - 60:.6f}", "filters": json.dumps(query)}
    if until:
        params["until"] = f"{seconds_since_1970(until):.9f}"
    with client.exchange("GET", "/events", params) as exchange:
        for line in _lines(exchange, deadline):
            yield json.loads(line)


def _lines(exchange: Exchange, deadline: _Deadline) -> Iterator[bytes]:
    text = b""
    while (left := deadline.left) > 0:
        if not exchange.read_head(left):
            return
        piece = exchange.read(max(left, 0.01))
        if not piece:
            return
        *lines, text = (text + piece).split(b"\n")
        yield from lines


def _signal(event: dict[str, Any]) -> str:
    name = str(event["Actor"]["Attributes"].get("signal", ""))
    return exit_codes.signal_name(int(name)) if name.isdecimal() else name


def _nanoseconds(text: str) -> int:
    return round(seconds_since_1970(text) * 1e9)


def _stamp(nanoseconds: int) -> str:
    """Return a time in the form of the stamps in Docker's logs, which can be compared as text."""
    seconds, rest = divmod(int(nanoseconds), 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
