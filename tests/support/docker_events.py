"""Events of an installation's containers as the Docker daemons report them."""

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
class ContainerEvents:
    """Recorded events, in the order of arrival."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def starts(self, task_id: str) -> Counter[str]:
        """Return link index -> number of container starts."""
        return Counter(labels[names.LINK] for labels in self._of("start") if labels[names.TASK] == task_id)

    def tasks(self) -> set[str]:
        """Return the tasks that had a container started."""
        return {labels[names.TASK] for labels in self._of("start")}

    def actions(self) -> Counter[str]:
        """Return the number of events by action: create, start, die, kill, destroy …"""
        return Counter(e["Action"].partition(":")[0] for e in self.events)

    def most_at_once(self, task_id: str) -> int:
        """Return the most containers of the task that ran at the same time; daemons of a host share a clock."""
        alive: set[str] = set()
        most = 0
        for event in sorted(self.events, key=lambda e: int(e["timeNano"])):
            actor = event["Actor"]
            if actor["Attributes"].get(names.TASK) != task_id:
                continue
            if event["Action"] == "start":
                alive.add(actor["ID"])
            elif event["Action"] == "die":
                alive.discard(actor["ID"])
            most = max(most, len(alive))
        return most

    def _of(self, action: str) -> Iterator[dict[str, str]]:
        return (e["Actor"]["Attributes"] for e in self.events if e["Action"] == action)


@contextmanager
def container_events(installation: str, *others: str) -> Iterator[ContainerEvents]:
    """Record the events of the default daemon, and of daemons at other hosts, while the block runs."""
    recorded = ContainerEvents()
    with ExitStack() as stack:
        for host in ("", *others):
            stack.enter_context(_listening(recorded, installation, host))
        yield recorded


@contextmanager
def _listening(recorded: ContainerEvents, installation: str, host: str) -> Iterator[None]:
    client = docker.DockerClient(base_url=host, timeout=600) if host else docker.from_env(timeout=600)
    stream = client.events(
        since=int(time.time()) - 1,
        decode=True,
        filters={"type": "container", "label": f"{names.INSTALLATION}={installation}"},
    )

    def listen() -> None:
        recorded.events.extend(stream)

    thread = threading.Thread(target=listen, name="docker events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream.close()
        thread.join(10)
        client.close()
