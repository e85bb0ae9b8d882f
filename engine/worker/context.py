"""WorkerContext: the parts of a worker process that its threads share. Made once, by the bootstrap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.dispatch.flusher import Flusher
from engine.lifecycle.installation import Installation
from engine.model import names
from engine.model.records import Caller
from engine.runtime.base import Runtime
from engine.worker.daemon.output_watch import OutputWatch
from engine.worker.daemon.sandbox_pool import SandboxPool
from engine.worker.daemon.sweeper import Sweeper
from engine.worker.holds import Holds
from engine.worker.machine_faults import MachineFaults
from engine.worker.running import RunningLinks


class Intake:
    """Intake of messages as other threads see it; this one, before Celery's consumer exists, has none to control."""

    #: Messages that may be in this process now.
    size: int = 0
    #: Adopted links that are running.
    adopted: int = 0
    #: Monotonic time of the broker's last answer to the consumer.
    heard_at: float = 0.0

    def count_adopted(self, by: int) -> None:
        """Count an adopted link that begins (1) or ends (-1): it occupies a slot."""

    def refresh(self) -> None:
        """Compute again how many messages may be consumed."""

    def rename_own_queue(self, old: str, new: str) -> None:
        """Consume the node's queue under its new name."""

    def settle(self, request: Any, requeue: bool | None) -> None:
        """Acknowledge (None) or reject a message."""


@dataclass
class WorkerContext:
    """The parts that the threads of a worker process share. The node's id changes after each fencing."""

    installation: Installation
    runtime: Runtime
    sweeper: Sweeper
    sandboxes: SandboxPool
    flusher: Flusher
    running: RunningLinks
    #: Why this node claims nothing for now.
    holds: Holds
    faults: MachineFaults
    #: Bounds what running links write.
    outputs: OutputWatch
    #: Celery's name of this worker.
    name: str
    queues: tuple[str, ...]
    slots: int
    #: Set when the daemon did not answer a thread: the node's thread asks again, and reports a silent daemon.
    runtime_in_doubt: threading.Event
    #: Set by the node's thread only.
    node_id: str = ""
    #: The node is LIVE and may claim. Set by the node's thread only.
    live: bool = False
    #: Called with Celery's exit status when it closes the worker, for whatever reason.
    on_close: Callable[[int], None] = lambda status: None
    #: The threads run: the watchdog looks after the connection to the broker.
    is_watched: bool = False
    #: The node has been LIVE once: its own queue may have messages.
    served: bool = False
    intake: Intake = field(default_factory=Intake)
    #: Set when the process begins to leave: nothing is claimed or adopted from then on.
    leaving: threading.Event = field(default_factory=threading.Event)
    #: Set when the node is drained: nothing is claimed, running tasks go on to their end, then the process leaves.
    draining: threading.Event = field(default_factory=threading.Event)
    #: Messages since the start whose claim or begin was refused: copies.
    claims_lost: int = 0

    @property
    def caller(self) -> Caller:
        """Return this node as the caller of verbs."""
        return Caller("node", self.node_id)

    @property
    def own_queue(self) -> str:
        """The queue that only this node consumes."""
        return names.node_queue(self.node_id)

    @property
    def may_claim(self) -> bool:
        """Return True while the node may claim tasks: it is LIVE, nothing holds it, and the process stays."""
        is_ending = self.leaving.is_set() or self.draining.is_set()
        return self.live and not is_ending and not self.holds.kinds

    def describe(self) -> dict[str, Any]:
        """Return the answer to `celery -A engine inspect ferryman`."""
        return {
            "node": self.node_id,
            "installation": self.installation.id,
            "live": self.live,
            "held": list(self.holds.kinds),
            "queues": list(self.queues),
            "slots": self.slots,
            "running": sorted(link.token.task_id for link in self.running.all()),
            "adopted": self.intake.adopted,
            "claims_lost": self.claims_lost,
        }


_context: WorkerContext | None = None


def set_context(context: WorkerContext) -> None:
    """Set the context of this process; called once, by the bootstrap."""
    global _context
    _context = context


def get_context() -> WorkerContext:
    """Return the context of this process. Raise RuntimeError in a process that is not a worker."""
    if _context is None:
        raise RuntimeError("this process is not a Ferryman worker: start one with `celery -A engine worker`")
    return _context
