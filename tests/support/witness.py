"""A witness from outside: what the Docker daemon itself says that it created, started and ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker

from engine.model import names


@dataclass
class Witness:
    """The daemon's events of one installation's containers, as they came."""

    seen: list[dict[str, Any]] = field(default_factory=list)

    def starts(self, task_id: str) -> Counter[str]:
        """link index -> how often a container of it was started."""
        return Counter(labels[names.LINK] for labels in self._of("start") if labels[names.TASK] == task_id)

    def tasks(self) -> set[str]:
        """The tasks of which any container was started."""
        return {labels[names.TASK] for labels in self._of("start")}

    def actions(self) -> Counter[str]:
        """What happened how often: create, start, die, kill, destroy …"""
        return Counter(one["Action"].partition(":")[0] for one in self.seen)

    def _of(self, action: str) -> Iterator[dict[str, str]]:
        return (one["Actor"]["Attributes"] for one in self.seen if one["Action"] == action)


@contextmanager
def witness(installation: str) -> Iterator[Witness]:
    """Listen to the daemon while the block runs; what happened before its end is in `seen` after it."""
    client = docker.from_env(timeout=600)
    found = Witness()
    stream = client.events(
        since=int(time.time()) - 1,
        decode=True,
        filters={"type": "container", "label": f"{names.INSTALLATION}={installation}"},
    )

    def listen() -> None:
        found.seen.extend(stream)

    thread = threading.Thread(target=listen, name="witness", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stream.close()
        thread.join(10)
        client.close()
