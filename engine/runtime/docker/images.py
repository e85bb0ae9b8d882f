"""Images: pulled if create reports one as missing, with progress and with a reason for each failure."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from docker.auth import get_config_header, resolve_repository_name
from docker.errors import DockerException
from docker.utils import parse_repository_tag

from engine.errors import RuntimeUnavailable, Unstartable
from engine.runtime.base import Control, Detached, LogSink
from engine.runtime.docker import blame, messages
from engine.runtime.docker.client import Client
from engine.runtime.docker.http import Exchange

log = logging.getLogger(__name__)

#: Waits before a pull is tried again because no registry answered. A refusal by a registry is final.
RETRY_SECONDS = (1.0, 3.0)
#: How often a waiting pull checks whether to stop.
TICK_SECONDS = 0.1
#: Shortest time between two notes of progress; a layer reports ten times a second.
NOTE_SECONDS = 2.0


class PullFailed(Exception):
    """A pull failed; the message is the daemon's."""


class PullStopped(Exception):
    """The caller's `stop` became true; closing the stream ended the pull in the daemon."""


def ensure(client: Client, image: str, sink: LogSink, control: Control, pull_timeout: float) -> None:
    """Pull the image and report the progress to `sink.note`; try again when no registry answers.

    Raises Unstartable (with a remedy), MachineFault, and Detached when `control` changed.
    """
    deadline = time.monotonic() + pull_timeout
    for wait_seconds in (*RETRY_SECONDS, None):
        try:
            _pull_with_notes(client, image, sink, control, deadline)
            return
        except PullStopped:
            if control.changed.is_set():
                raise Detached from None
            raise Unstartable(
                f"pulling {image} took longer than {pull_timeout:g} s: pull it on the host, or raise "
                "FERRYMAN_PULL_TIMEOUT_SECONDS"
            ) from None
        except PullFailed as exc:
            # For the operator only: the message may quote what a server in the host's network answered.
            log.warning("pulling %s failed: %.500r", image, str(exc))
            reason = messages.unreachable_reason(str(exc))
            if not reason or wait_seconds is None:
                raise blame.of_pull(image, str(exc)) from None
            sink.note(f"pulling {image}: no registry answers: {reason}; trying again in {wait_seconds:g} s")
        if control.changed.wait(wait_seconds):
            raise Detached


def pull(client: Client, image: str, progress: Callable[[str], None], stop: Callable[[], bool]) -> None:
    """Pull once. `progress` gets a line for each report of the daemon, "" at the registry's first answer.

    Raises PullFailed, PullStopped (as soon as `stop()` is true, within 0.1 s), RuntimeUnavailable.
    """
    repository, tag = parse_repository_tag(image)
    params = {"fromImage": repository, "tag": tag or "latest"}
    layers = _Layers()
    with client.exchange("POST", "/images/create", params, _credentials(client, repository)) as exchange:
        while not exchange.read_head(TICK_SECONDS):
            if stop():
                raise PullStopped
        if exchange.status != 200:
            raise PullFailed(exchange.error_message())
        for line in _lines(exchange, stop):
            if "error" in line:
                raise PullFailed(str(line["error"]))
            progress(layers.render(line))


def _pull_with_notes(client: Client, image: str, sink: LogSink, control: Control, deadline: float) -> None:
    began = noted = time.monotonic()
    sink.note(f"pulling {image}")

    def progress(text: str) -> None:
        nonlocal noted
        if text and time.monotonic() - noted >= NOTE_SECONDS:
            noted = time.monotonic()
            sink.note(f"pulling {image}: {text}")

    pull(client, image, progress, lambda: control.changed.is_set() or time.monotonic() > deadline)
    sink.note(f"pulled {image} in {time.monotonic() - began:.1f} s")


class _Layers:
    """Progress of a pull: the daemon's reports on each layer, as one line."""

    def __init__(self) -> None:
        self._status: dict[str, str] = {}
        self._bytes: dict[str, tuple[int, int]] = {}

    def render(self, line: dict[str, Any]) -> str:
        """Take in the daemon's next report and return the progress as one line."""
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        if not layer or status.startswith(messages.PULLING_FROM):
            return ""
        self._status[layer] = status
        detail = line.get("progressDetail") or {}
        if status == messages.DOWNLOADING and detail.get("total"):
            self._bytes[layer] = (int(detail["current"]), int(detail["total"]))
        elif status in messages.DOWNLOADED and layer in self._bytes:
            self._bytes[layer] = (self._bytes[layer][1],) * 2
        done = sum(status in messages.LAYER_DONE for status in self._status.values())
        received, total = (sum(pair[i] for pair in self._bytes.values()) / 1e6 for i in (0, 1))
        return f"{done} of {len(self._status)} layers, {received:.0f} of {total:.0f} MB"


def _lines(exchange: Exchange, stop: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    pending = b""
    while (piece := exchange.read(TICK_SECONDS)) != b"":
        if stop():
            raise PullStopped
        *whole, pending = (pending + (piece or b"")).split(b"\n")
        for text in whole:
            if text.strip():
                try:
                    yield json.loads(text)
                except ValueError as exc:
                    raise RuntimeUnavailable("Docker did not report the progress of a pull as JSON") from exc


def _credentials(client: Client, repository: str) -> dict[str, str]:
    """Return the header with the credentials that `docker login` of this user stored for the registry, if any."""
    try:
        registry, _ = resolve_repository_name(repository)
        header = get_config_header(client.api, registry)
    except DockerException as exc:
        reason = f"the credentials for {repository} cannot be read: {exc}; run docker login again"
        raise Unstartable(reason) from exc
    if not header:
        return {}
    return {"X-Registry-Auth": header.decode() if isinstance(header, bytes) else header}
