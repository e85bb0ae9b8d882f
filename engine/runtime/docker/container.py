"""Containers: list, create, start, kill and remove them by the rules of docs/protocol.rst.

Docker starts an exited container again without objection, so only the thread that created a container starts it,
once, by id.
"""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, NotFound

from engine.errors import ErrorAnswer, Gone, NotOurs, RuntimeUnavailable
from engine.runtime.base import Order, Resource
from engine.runtime.docker import blame, files, labels, messages
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.host import Host


class NameTaken(Exception):
    """Another container has this name: look again."""


class ImageMissing(Exception):
    """The daemon does not have the image: pull it."""


@dataclass(frozen=True)
class State:
    """State of a container as inspect shows it. Inspect waits for a start in progress."""

    id: str
    #: created, running, paused, restarting, removing, exited, dead.
    status: str
    exit_code: int
    is_out_of_memory: bool
    #: Docker's own words about a failed start.
    error: str
    #: RFC 3339 as Docker wrote them; the end is that of an earlier run while the container runs again.
    started_at: str
    finished_at: str
    #: The first process, in the daemon's process namespace; 0: none.
    pid: int
    #: Docker starts the container again after its end: somebody asked for that, Ferryman never does.
    has_restart_policy: bool
    #: The delivery that created the container.
    delivery: int
    #: The output directory on the host; None: files are copied by archive.
    out: Path | None
    #: The program that the container runs, without docker-init.
    command: str

    @property
    def has_ended(self) -> bool:
        """Return True if the exit code is final."""
        return self.status in ("exited", "dead")

    @property
    def was_started_again(self) -> bool:
        """Return True if the container runs, or is about to, after it had ended: it runs for the second time."""
        has_ended_before = bool(self.finished_at) and not self.finished_at.startswith("0001-")
        return self.status in ("running", "paused", "restarting") and has_ended_before


def inspect(client: Client, container_id: str) -> State | None:
    """Return the container's state, None if there is no such container."""
    try:
        with translated("looking at a container"):
            answer = client.api.inspect_container(container_id)
    except NotFound:
        return None
    state, texts = answer["State"], answer["Config"].get("Labels") or {}
    policy = answer["HostConfig"].get("RestartPolicy")
    return State(
        id=answer["Id"],
        status=state["Status"],
        exit_code=int(state["ExitCode"]),
        is_out_of_memory=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        started_at=state.get("StartedAt") or "",
        finished_at=state.get("FinishedAt") or "",
        pid=int(state.get("Pid") or 0),
        has_restart_policy=(policy or {}).get("Name", "") not in ("", "no"),
        delivery=labels.delivery(texts),
        out=next(
            (Path(m["Source"]) for m in answer.get("Mounts") or () if m["Destination"] == files.OUT), None
        ),
        command=str(answer.get("Path") or ""),
    )


def look(client: Client, order: Order, on_removed: Callable[[str], object]) -> Resource | None:
    """Remove living containers of the task's older runs by force; return the container with the order's name.

    `on_removed` is called with the name of each removed container. Raises NotOurs when a newer run has containers
    here.
    """
    deadline = time.monotonic() + client.timeout
    while True:
        containers = labels.list_containers(client, order)
        if any(run > order.run for run, _ in containers):
            raise NotOurs(f"a newer run of task {order.run.task_id} has containers here")
        older = [listed for run, listed in containers if run < order.run and listed.may_run]
        if not older:
            return next((listed for _, listed in containers if listed.name == order.name), None)
        for listed in older:
            remove(client, listed.id, force=True)
            on_removed(listed.name)
        if time.monotonic() > deadline:
            raise RuntimeUnavailable(f"container {older[0].name} of an older run cannot be removed")
        time.sleep(0.1)


def create(host: Host, order: Order, body: Mapping[str, Any]) -> str:
    """Create the container and return its id. Raises NameTaken, ImageMissing, Unstartable, MachineFault."""
    with translated(f"creating the container of {order.spec.image}"):
        try:
            return str(host.client.api.create_container_from_config(body, order.name)["Id"])
        except APIError as exc:
            message = message_of(exc)
            if exc.status_code == 409 and messages.NAME_TAKEN.search(message):
                raise NameTaken from exc
            if exc.status_code == 404 and messages.IMAGE_MISSING.search(message):
                raise ImageMissing from exc
            raise blame.of_request(order, "Docker refuses the container", exc, host.data_dir) from exc


def join_networks(host: Host, order: Order, container_id: str) -> None:
    """Connect a created container to its second and later networks; create took the first.

    Raises Unstartable, MachineFault.
    """
    for network in order.networks[1:]:
        with translated(f"joining the network {network}"):
            try:
                host.client.api.connect_container_to_network(container_id, network)
            except APIError as exc:
                reason = f"the network {network} cannot be joined"
                raise blame.of_request(order, reason, exc, host.data_dir) from exc


def start(client: Client, container_id: str) -> State | None:
    """Start a container that this thread created and confirmed.

    Return None when it runs or ran, else the state of the container that could not start. Raises Gone, NotOurs (a
    newer delivery made it unstartable), RuntimeUnavailable.
    """
    try:
        client.api.start(container_id)
        return None
    except APIError as exc:
        # A 404 may be about the container, or about the sandbox that it was to join: inspect shows which.
        message = message_of(exc)
    except requests.exceptions.RequestException as exc:
        # After a time-out the start may be in progress, and inspect waits for it.
        message = f"no answer to the start: {exc}"
    return _refused_start(client, container_id, message)


def _refused_start(client: Client, container_id: str, message: str) -> State | None:
    state = inspect(client, container_id)
    if state is None:
        raise Gone(f"container {container_id[:12]} was removed before it started")
    if state.status != "created":
        return None
    if messages.OUTPUT_MISSING.search(message):
        raise NotOurs(f"container {container_id[:12]} was made unstartable by a newer delivery")
    code = state.exit_code if state.exit_code in (125, 126, 127, 128) else 125
    return replace(state, exit_code=code, error=message)


def kill(client: Client, container_id: str, signal: str) -> None:
    """Send a signal. A container that has already stopped or been removed is not an error."""
    try:
        with translated(f"sending {signal}"):
            client.api.kill(container_id, signal)
    except APIError as exc:
        if exc.status_code not in (404, 409):
            raise ErrorAnswer(f"Docker does not send {signal}: {message_of(exc)}") from exc


def remove(client: Client, container_id: str, *, force: bool) -> bool:
    """Remove the container with its anonymous volumes; return True when it is gone or being removed already.

    Without force a running container stays (False). Raises ErrorAnswer when Docker cannot remove it.
    """
    try:
        with translated("removing a container"):
            client.api.remove_container(container_id, v=True, force=force)
    except NotFound:
        return True
    except APIError as exc:
        message = message_of(exc)
        if messages.BEING_REMOVED.search(message):
            return True
        if exc.status_code == 409 and not force:
            return False
        raise ErrorAnswer(f"Docker does not remove container {container_id[:12]}: {message}") from exc
    return True


def copy_in(host: Host, order: Order, container_id: str, archive: bytes, refusal: str) -> None:
    """Unpack an archive in a created container; `refusal` begins the message. Raises Unstartable, MachineFault."""
    with translated("copying files into a container"):
        try:
            host.client.api.put_archive(container_id, "/", archive)
        except APIError as exc:
            raise blame.of_request(order, refusal, exc, host.data_dir) from exc


def first_entry(
    client: Client, container_id: str, path: str, size: int = 0
) -> tuple[tarfile.TarInfo, bytes] | None:
    """Return what is at a path in a container, with its first `size` bytes; None if nothing is there.

    Raises APIError, RuntimeUnavailable.
    """
    try:
        with translated("looking at a file of a container"):
            pieces, _ = client.api.get_archive(container_id, path)
            entry, data = files.first_entry(pieces, size)
    except APIError as exc:
        if exc.status_code == 404:
            return None
        raise
    except tarfile.TarError as exc:
        raise RuntimeUnavailable(f"Docker's archive of {path} was cut short: {exc}") from exc
    return (entry, data) if entry is not None else None
