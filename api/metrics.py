"""What GET /metrics tells Prometheus, from the rows. How long steps took counts from the first question on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Rising

from engine.model.records import Event, Link
from engine.model.states import NodeState, TaskState
from engine.runtime.timings import SPANS
from engine.store import events, links, nodes, outbox
from engine.store.database import Connection, Database

#: Seconds: from a claim on an idle slot to a long transcoding.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_BATCH = 1000
#: Read at one question at most; what is left comes with the next.
_MOST_BATCHES = 50


class Metrics:
    """The figures of one process. Thread-safe; one question reads at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        #: Behind which event the next question reads on; None: nobody asked yet.
        self._cursor: str | None = None
        self._tasks = Gauge("ferryman_tasks", "Tasks that have not ended", ["state"], registry=self._registry)
        self._nodes = Gauge("ferryman_nodes", "Nodes that beat", ["state"], registry=self._registry)
        self._ends = Rising(
            "ferryman_attempts",
            "Attempts that ended, by what they came to",
            ["state"],
            registry=self._registry,
        )
        self._steps = Histogram(
            "ferryman_step_seconds",
            "How long each step of a link took",
            ["step"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        for step in SPANS:
            self._steps.labels(step)

    def render(self) -> bytes:
        """The figures as they are now, in Prometheus' text. Raises StoreUnavailable."""
        with self._lock:
            with self._db.read() as c:
                self._look(c)
            return generate_latest(self._registry)

    def _look(self, c: Connection) -> None:
        waiting: Counter[str] = Counter()
        for states in outbox.depth(c).values():
            waiting.update(states)
        for state in (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RUNNING):
            self._tasks.labels(state).set(waiting[state])
        beating = Counter(node.state for node in nodes.beating(c))
        for kind in (NodeState.JOINING, NodeState.LIVE, NodeState.LEAVING):
            self._nodes.labels(kind).set(beating[kind])
        if self._cursor is None:
            self._cursor = events.latest(c)
            return
        for _ in range(_MOST_BATCHES):
            found = events.after(c, self._cursor, limit=_BATCH)
            self._take(c, found)
            if found:
                self._cursor = found[-1].cursor
            if len(found) < _BATCH:
                return

    def _take(self, c: Connection, found: Iterable[Event]) -> None:
        """Count the attempts that ended among these events, each with the links of its runs."""
        ended = {(e.task_id, e.attempt): e for e in found if _is_end(e)}
        for event in ended.values():
            self._ends.labels("RETRIED" if event.to_state == TaskState.PENDING else event.to_state).inc()
        for link in links.of_tasks(c, sorted({str(task_id) for task_id, _ in ended})):
            if (link.task_id, link.attempt) in ended:
                self._observe(link)

    def _observe(self, link: Link) -> None:
        for step, ms in (link.timings or {}).items():
            self._steps.labels(step).observe(ms / 1000)


def _is_end(event: Event) -> bool:
    """An attempt's only end: the task's, or the step back to PENDING for a retry (a repair's is no end)."""
    if event.kind != "task" or event.to_state is None:
        return False
    retried = (event.from_state, event.to_state) == (TaskState.RUNNING, TaskState.PENDING)
    return retried or TaskState(event.to_state).ended
