"""Images: pulled when create says that one is missing, with progress, and with the faults told apart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from docker.auth import get_config_header, resolve_repository_name
from docker.errors import DockerException
from docker.utils import parse_repository_tag

from engine.errors import RuntimeUnavailable, Unstartable
from engine.runtime.base import Control, Detached, LogSink
from engine.runtime.docker.client import Client
from engine.runtime.docker.http import Exchange

#: Waits before a pull is tried again, when no registry answered. What a registry refuses is never tried again.
RETRY_SECONDS = (1.0, 3.0)
#: How often a waiting pull looks whether it was stopped.
TICK_SECONDS = 0.1
#: Progress is told this often at most: a layer reports ten times a second.
NOTE_SECONDS = 2.0
_UNREACHABLE = (
    "dial tcp",
    "no such host",
    "connection refused",
    "connection reset",
    "no route to host",
    "network is unreachable",
    "i/o timeout",
    "client.timeout",
    "deadline exceeded",
    "tls handshake timeout",
    "proxyconnect",
    "request canceled",
    "unexpected eof",
    ": eof",
    "received unexpected http status: 5",
    "service unavailable",
    "bad gateway",
    "toomanyrequests",
    "too many requests",
)
_DENIED = ("unauthorized", "denied", "no basic auth credentials", "authentication required")


class PullFailed(Exception):
    """A pull that failed; the daemon's words, and what they mean."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words

    @property
    def is_unreachable(self) -> bool:
        """No registry gave an answer that counts: worth another try later."""
        said = self.words.lower()
        return any(sign in said for sign in _UNREACHABLE)

    @property
    def is_denied(self) -> bool:
        """The registry wants other credentials, or hides what it does not show."""
        said = self.words.lower()
        return any(sign in said for sign in _DENIED)


class PullStopped(Exception):
    """The caller's `stop` became true; the daemon was told by closing the stream."""


def ensure(client: Client, image: str, sink: LogSink, control: Control, pull_timeout: float) -> None:
    """Pull the image, saying how it goes on through `sink.note`.

    Tried again when no registry answers. Raises Unstartable (with what to do) and Detached when `control` changed.
    """
    deadline = time.monotonic() + pull_timeout
    for wait_seconds in (*RETRY_SECONDS, None):
        try:
            _pull_noted(client, image, sink, control, deadline)
            return
        except PullStopped:
            if control.changed.is_set():
                raise Detached from None
            raise Unstartable(
                f"pulling {image} took longer than {pull_timeout:g} s (FERRYMAN_PULL_TIMEOUT_SECONDS)"
            ) from None
        except PullFailed as exc:
            if not exc.is_unreachable or wait_seconds is None:
                raise Unstartable(_advice(image, exc), 125) from exc
            sink.note(f"pulling {image}: {exc.words}; trying again in {wait_seconds:g} s")
        if control.changed.wait(wait_seconds):
            raise Detached


def pull(client: Client, image: str, progress: Callable[[str], None], stop: Callable[[], bool]) -> None:
    """Pull once. `progress` gets a line now and then, "" at the registry's first sign of life.

    Raises PullFailed, PullStopped (as soon as `stop()` is true, within 0.1 s), RuntimeUnavailable.
    """
    repository, tag = parse_repository_tag(image)
    params = {"fromImage": repository, "tag": tag or "latest"}
    layers = _Layers()
    with client.exchange("POST", "/images/create", params, _credentials(client, repository)) as exchange:
        while not exchange.head(TICK_SECONDS):
            if stop():
                raise PullStopped
        if exchange.status != 200:
            raise PullFailed(exchange.words())
        for line in _lines(exchange, stop):
            if "error" in line:
                raise PullFailed(str(line["error"]))
            progress(layers.render(line))


def _pull_noted(client: Client, image: str, sink: LogSink, control: Control, deadline: float) -> None:
    began = render = time.monotonic()
    sink.note(f"pulling {image}")

    def progress(text: str) -> None:
        nonlocal render
        if text and time.monotonic() - render >= NOTE_SECONDS:
            render = time.monotonic()
            sink.note(f"pulling {image}: {text}")

    pull(client, image, progress, lambda: control.changed.is_set() or time.monotonic() > deadline)
    sink.note(f"pulled {image} in {time.monotonic() - began:.1f} s")


class _Layers:
    """What the daemon tells of each layer, as one line."""

    def __init__(self) -> None:
        self._status: dict[str, str] = {}
        self._bytes: dict[str, tuple[int, int]] = {}

    def render(self, line: dict[str, Any]) -> str:
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        if not layer or status.startswith("Pulling from"):
            return ""
        self._status[layer] = status
        detail = line.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._bytes[layer] = (int(detail["current"]), int(detail["total"]))
        elif status in ("Download complete", "Pull complete") and layer in self._bytes:
            self._bytes[layer] = (self._bytes[layer][1],) * 2
        done = sum(s in ("Pull complete", "Already exists") for s in self._status.values())
        came, total = (sum(pair[i] for pair in self._bytes.values()) / 1e6 for i in (0, 1))
        return f"{done} of {len(self._status)} layers, {came:.0f} of {total:.0f} MB"


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
                    raise RuntimeUnavailable("Docker told the progress of a pull in no JSON") from exc


def _credentials(client: Client, repository: str) -> dict[str, str]:
    """What `docker login` of this user stored for the registry, for this one pull."""
    try:
        registry, _ = resolve_repository_name(repository)
        header = get_config_header(client.api, registry)
    except DockerException as exc:
        raise Unstartable(f"the credentials of {repository} cannot be read: {exc}") from exc
    if not header:
        return {}
    return {"X-Registry-Auth": header.decode() if isinstance(header, bytes) else header}


def _advice(image: str, failed: PullFailed) -> str:
    if failed.is_unreachable:
        return f"the image {image} is not here and no registry answers: {failed.words}"
    if failed.is_denied:
        return (
            f"the registry does not give out {image}: {failed.words}. Is the name right? "
            "For a private image: docker login, as the user who runs the worker"
        )
    return f"there is no image {image}: {failed.words}. Check its name and tag"
