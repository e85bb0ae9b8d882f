"""A witness from outside: what Docker daemons themselves say of an installation's containers, as it happens."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker

from engine.model import names


@dataclass
class Witness:
    """The daemons' events, as they came."""

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

    def most_at_once(self, task_id: str) -> int:
        """The largest number of the task's containers that ran at the same moment; daemons of a host share a clock."""
        alive: set[str] = set()
        most = 0
        for one in sorted(self.seen, key=lambda one: int(one["timeNano"])):
            actor = one["Actor"]
            if actor["Attributes"].get(names.TASK) != task_id:
                continue
            if one["Action"] == "start":
                alive.add(actor["ID"])
            elif one["Action"] == "die":
                alive.discard(actor["ID"])
            most = max(most, len(alive))
        return most

    def _of(self, action: str) -> Iterator[dict[str, str]]:
        return (one["Actor"]["Attributes"] for one in self.seen if one["Action"] == action)


@contextmanager
def witness(installation: str, *others: str) -> Iterator[Witness]:
    """Listen to the default daemon, and to others by their hosts, while the block runs; what happened is in `seen`."""
    found = Witness()
    with ExitStack() as stack:
        for host in ("", *others):
            stack.enter_context(_listening(found, installation, host))
        yield found


@contextmanager
def _listening(found: Witness, installation: str, host: str) -> Iterator[None]:
    client = docker.DockerClient(base_url=host, timeout=600) if host else docker.from_env(timeout=600)
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
        yield
    finally:
        stream.close()
        thread.join(10)
        client.close()
