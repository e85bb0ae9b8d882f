"""What daemons tell of an installation's containers as it happens: which started, and how many lived at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import docker

from engine.model import names


class Told:
    """Starts and ends, in the order of their time: daemons of one host have one clock."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, str, str, str]] = []

    def add(self, told: dict[str, Any]) -> None:
        """One event of a daemon's."""
        actor = told["Actor"]
        task_id = actor["Attributes"].get(names.TASK, "")
        self._steps.append((told["timeNano"], told["Action"], actor["ID"], task_id))

    def starts(self, task_id: str) -> list[str]:
        """The ids of the task's containers that were started, one entry a start."""
        return [id for _, action, id, task in sorted(self._steps) if (action, task) == ("start", task_id)]

    def most_at_once(self, task_id: str) -> int:
        """The largest number of the task's containers that ran at the same moment."""
        alive: set[str] = set()
        most = 0
        for _, action, id, task in sorted(self._steps):
            if task == task_id:
                alive = alive | {id} if action == "start" else alive - {id}
                most = max(most, len(alive))
        return most


@contextmanager
def told_by(installation: str, *hosts: str) -> Iterator[Told]:
    """Listen to these daemons ("": the default one) until the end of the block."""
    told = Told()
    with ExitStack() as stack:
        for host in hosts:
            stack.enter_context(_listening(told, installation, host))
        yield told


@contextmanager
def _listening(told: Told, installation: str, host: str) -> Iterator[None]:
    client = docker.DockerClient(base_url=host, timeout=30) if host else docker.from_env(timeout=30)
    wanted = {"type": "container", "event": ["start", "die"], "label": f"{names.INSTALLATION}={installation}"}
    stream = client.events(decode=True, filters=wanted)

    def listen() -> None:
        for event in stream:
            told.add(event)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream.close()
        thread.join(10)
        client.close()
