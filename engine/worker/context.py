"""This worker process: its site, its daemon, its node, and what it has in hand. Made once, by `boot`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.dispatch.flusher import Flusher
from engine.lifecycle.installation import Installation
from engine.model import names
from engine.runtime.base import Runtime
from engine.worker.daemon.sandbox_pool import SandboxPool
from engine.worker.daemon.sweeper import Sweeper
from engine.worker.running import RunningLinks


class Intake(Protocol):
    """How messages come in (engine.worker.intake.consumer.Window): what other threads may ask of it."""

    size: int
    adopted: int

    def adopt(self, by: int) -> None:
        """An adopted link begins (1) or ends (-1): it counts as a slot."""

    def refresh(self) -> None:
        """Look again at what may be consumed."""

    def rename_own(self, old: str, new: str) -> None:
        """The node's queue has a new name."""

    def settle(self, request: Any, requeue: bool | None) -> None:
        """Acknowledge (None) or reject a message."""


@dataclass
class WorkerContext:
    """What the threads of a worker process share. The node's id changes after each fencing."""

    installation: Installation
    runtime: Runtime
    sweeper: Sweeper
    sandboxes: SandboxPool
    flusher: Flusher
    running: RunningLinks
    #: Celery's name of this worker.
    name: str
    queues: tuple[str, ...]
    slots: int
    #: A thread met a daemon that did not answer: the node's thread asks it, and says so if it is true.
    doubt: threading.Event
    #: Written by the node's thread only.
    node_id: str = ""
    #: The node is LIVE: it may claim. Written by the node's thread only.
    live: bool = False
    #: It has been LIVE once: messages may wait in its own queue.
    served: bool = False
    window: Intake | None = None
    #: Set when the process begins to leave: nothing is claimed or adopted any more.
    leaving: threading.Event = field(default_factory=threading.Event)
    #: The node is drained: it takes nothing new and carries on what it has, then leaves.
    draining: threading.Event = field(default_factory=threading.Event)
    #: run_links that were no more than a copy of a message (claim or begin refused), since the start.
    claims_lost: int = 0

    @property
    def own_queue(self) -> str:
        """The queue that only this node serves."""
        return names.node_queue(self.node_id)

    def describe(self) -> dict[str, Any]:
        """What `celery -A engine inspect ferryman` answers."""
        return {
            "node": self.node_id,
            "installation": self.installation.id,
            "live": self.live,
            "queues": list(self.queues),
            "slots": self.slots,
            "in_hand": sorted(link.token.task_id for link in self.running.all()),
            "adopted": self.window.adopted if self.window is not None else 0,
            "claims_lost": self.claims_lost,
        }


_context: WorkerContext | None = None


def set_context(context: WorkerContext) -> None:
    """Make this the process's own; called once, by boot."""
    global _context
    _context = context


def get_context() -> WorkerContext:
    """The process's own. Raises RuntimeError in a process that is no worker."""
    if _context is None:
        raise RuntimeError("this process is no Ferryman worker: start it by `celery -A engine worker`")
    return _context
