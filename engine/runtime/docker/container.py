"""Containers: look for them, create, start, kill and remove them, by the rules of docs/lifecycle.rst.

`start` has no precondition in Docker (an exited container runs again), so only the thread that created one starts
it, once, by id.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, NotFound

from engine.errors import Gone, NotOurs, RuntimeUnavailable, Unstartable
from engine.model import names
from engine.runtime.base import Order
from engine.runtime.docker import labels
from engine.runtime.docker.client import Client, translated, words
from engine.runtime.docker.files import OUT
from engine.runtime.docker.labels import ListedContainer

#: What may still run, or be started by its creator.
_ALIVE = ("created", "running", "paused", "restarting")
_LOOK_SECONDS = 0.1
#: Words of a 500 that speak of the daemon or its disk.
_MACHINE = (
    "no space left",
    "context",
    "shutting down",
    "containerd",
    "connect",
    "input/output error",
    "read-only",
)


class NameTaken(Exception):
    """A container of this name is there: look again."""


class ImageMissing(Exception):
    """The image is not on this daemon: pull it."""


@dataclass(frozen=True)
class State:
    """What inspect tells. It waits for a start that is in flight."""

    id: str
    #: created, running, paused, restarting, removing, exited, dead.
    status: str
    exit_code: int
    is_out_of_memory: bool
    #: Docker's own words of a failed start.
    error: str
    #: RFC 3339 as Docker wrote it.
    finished_at: str
    #: The delivery that created it.
    delivery: int
    #: Its output directory on the host; None: it has none, its files went by archive.
    out: Path | None

    @property
    def has_ended(self) -> bool:
        """True when its exit code counts."""
        return self.status in ("exited", "dead")


def inspect(client: Client, container_id: str) -> State | None:
    """The container's state, None when it is not there."""
    try:
        with translated("looking at a container"):
            found = client.api.inspect_container(container_id)
    except NotFound:
        return None
    state, text = found["State"], found["Config"].get("Labels") or {}
    return State(
        id=found["Id"],
        status=state["Status"],
        exit_code=int(state["ExitCode"]),
        is_out_of_memory=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        finished_at=state.get("FinishedAt") or "",
        delivery=int(text.get(names.DELIVERY) or 0),
        out=next((Path(m["Source"]) for m in found.get("Mounts") or () if m["Destination"] == OUT), None),
    )


def look(client: Client, order: Order, forget: Callable[[str], object]) -> ListedContainer | None:
    """The container of the order's name, after what belongs to older runs of the task was removed by force.

    `forget` is called with the name of each that was removed. Raises NotOurs when a newer run has containers here.
    """
    deadline = time.monotonic() + client.timeout
    while True:
        seen = labels.of_task(client, order.installation, order.run.task_id)
        if any(one.run > order.run for one in seen):
            raise NotOurs(f"a newer run of task {order.run.task_id} has containers here")
        older = [one for one in seen if one.run < order.run and one.state in _ALIVE]
        if not older:
            return next((one for one in seen if one.name == order.name), None)
        for one in older:
            remove(client, one.id, force=True)
            forget(one.name)
        if time.monotonic() > deadline:
            raise RuntimeUnavailable(f"container {older[0].name} of an older run cannot be removed")
        time.sleep(_LOOK_SECONDS)


def create(client: Client, order: Order, body: Mapping[str, Any]) -> str:
    """Create the container; returns its id. Raises NameTaken, ImageMissing, Unstartable."""
    try:
        with translated(f"creating the container of {order.spec.image}"), _order_at_fault():
            return str(client.api.create_container_from_config(body, order.name)["Id"])
    except APIError as exc:
        said = words(exc)
        if exc.status_code == 409 and "name" in said:
            raise NameTaken from exc
        if exc.status_code == 404 and "no such image" in said.lower():
            raise ImageMissing from exc
        raise Unstartable(f"Docker refuses the container: {said}", 125) from exc


@contextlib.contextmanager
def _order_at_fault() -> Iterator[None]:
    """A 500 of create blames the order (a workdir that is a file …), unless its words blame the machine."""
    try:
        yield
    except APIError as exc:
        said = words(exc)
        if exc.is_server_error() and not any(sign in said.lower() for sign in _MACHINE):
            raise Unstartable(f"Docker refuses the container: {said}", 125) from exc
        raise


def join_networks(client: Client, order: Order, container_id: str) -> None:
    """Connect a created container to the networks after its first, which create takes. Raises Unstartable."""
    for network in order.networks[1:]:
        try:
            with translated(f"joining the network {network}"):
                client.api.connect_container_to_network(container_id, network)
        except APIError as exc:
            raise Unstartable(f"the network {network} cannot be joined: {words(exc)}", 125) from exc


def start(client: Client, container_id: str) -> State | None:
    """Start what this thread created and confirmed. None: it runs, or ran; else the state of what never did.

    Raises Gone, NotOurs (a newer delivery made it unstartable), RuntimeUnavailable.
    """
    try:
        client.api.start(container_id)
        return None
    except APIError as exc:
        # A 404 may speak of it, or of a sandbox whose network it was to join: inspect tells.
        said = words(exc)
    except requests.exceptions.RequestException as exc:
        # A time-out says nothing: the start may be in flight, and inspect waits for it.
        with translated("starting a container"):
            state = inspect(client, container_id)
            if state is not None and state.status != "created":
                return None
            raise exc
    return _refused_start(client, container_id, said)


def _refused_start(client: Client, container_id: str, said: str) -> State | None:
    state = inspect(client, container_id)
    if state is None:
        raise Gone(f"container {container_id[:12]} is gone before it started")
    if state.status != "created":
        return None
    if "bind source path does not exist" in said and "/out" in said:
        raise NotOurs(f"container {container_id[:12]} was given up by a newer delivery")
    code = state.exit_code if state.exit_code in (125, 126, 127, 128) else 125
    return replace(state, exit_code=code, error=said)


def start_words(code: int, said: str) -> str:
    """A refused start in words for the task's owner."""
    core = _core(said)
    if code == 127:
        return f"the command is not in the image: {core}"
    if code == 126:
        return f"the command cannot be executed: {core}"
    if code == 128 or "unable to find user" in said:
        return f"the container cannot be set up as asked (user, environment or device): {core}"
    return f"Docker cannot start the container: {core}"


def _core(said: str) -> str:
    """The end of runc's long sentence, where the reason is."""
    found = re.search(r'(exec: ".*|unable to find user .*|invalid mount config .*)$', said, re.DOTALL)
    return (found.group(1) if found else said).strip()[:500]


def kill(client: Client, container_id: str, signal: str) -> None:
    """Send a signal. One that has ended or is gone already is none to complain about."""
    try:
        with translated(f"sending {signal}"):
            client.api.kill(container_id, signal)
    except APIError as exc:
        if exc.status_code not in (404, 409):
            raise RuntimeUnavailable(f"Docker does not send {signal}: {words(exc)}") from exc


def remove(client: Client, container_id: str, *, force: bool) -> bool:
    """Remove with its anonymous volumes; True when it is gone, or another call removes it already.

    Without force a running one stays (False).
    """
    try:
        with translated("removing a container"):
            client.api.remove_container(container_id, v=True, force=force)
    except NotFound:
        return True
    except APIError as exc:
        said = words(exc)
        if "already in progress" in said:
            return True
        if exc.status_code == 409:
            return False
        raise RuntimeUnavailable(f"Docker does not remove container {container_id[:12]}: {said}") from exc
    return True
