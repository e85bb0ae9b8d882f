"""Metrics for Prometheus, read from the rows. Ended attempts count from the first request on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram

from engine.model.records import Event
from engine.model.states import BEATING_NODES, WAITING_TASKS, HoldKind, TaskState
from engine.runtime.timings import SPANS
from engine.store import events, links, nodes, outbox
from engine.store.database import Connection, Database

#: In seconds: from a claim on an idle slot to a long transcoding.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_BATCH = 1000
#: Most batches that one request reads; the next request reads the rest.
_MOST_BATCHES = 50


class Metrics:
    """Metrics of one process. Thread-safe; one request at a time reads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        #: Event after which the next request reads on; None before the first request.
        self._cursor: str | None = None
        self._tasks = Gauge("ferryman_tasks", "Tasks that have not ended", ["state"], registry=self._registry)
        self._nodes = Gauge(
            "ferryman_nodes", "Nodes that are joining, live or leaving", ["state"], registry=self._registry
        )
        self._held = Gauge(
            "ferryman_held_nodes",
            "Nodes that claim nothing for now, by the part that does not work",
            ["kind"],
            registry=self._registry,
        )
        self._attempts = prometheus_client.Counter(
            "ferryman_attempts",
            "Ended attempts, by their last state; RETRIED when another attempt follows",
            ["state"],
            registry=self._registry,
        )
        self._steps = Histogram(
            "ferryman_step_seconds",
            "Duration of each step of a link",
            ["step"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        for step in SPANS:
            self._steps.labels(step)

    def render(self) -> bytes:
        """Return the current metrics in Prometheus' text format. Raises StoreUnavailable."""
        with self._lock:
            with self._db.read() as c:
                self._update(c)
            return prometheus_client.generate_latest(self._registry)

    def _update(self, c: Connection) -> None:
        tasks: Counter[str] = Counter()
        for states in outbox.depth(c).values():
            tasks.update(states)
        for state in (*WAITING_TASKS, TaskState.RUNNING):
            self._tasks.labels(state).set(tasks[state])
        beating = nodes.beating(c)
        states, kinds = Counter(n.state for n in beating), Counter(h.kind for n in beating for h in n.holds)
        for node_state in BEATING_NODES:
            self._nodes.labels(node_state).set(states[node_state])
        for kind in HoldKind:
            self._held.labels(kind).set(kinds[kind])
        newest = events.latest(c)
        if self._cursor is None or events.is_later(c, self._cursor, newest):
            # The first request, or the first after the database was put back in time.
            self._cursor = newest
            return
        for _ in range(_MOST_BATCHES):
            batch = events.after(c, self._cursor, limit=_BATCH)
            self._count_ended(c, batch)
            if batch:
                self._cursor = batch[-1].cursor
            if len(batch) < _BATCH:
                return

    def _count_ended(self, c: Connection, batch: Iterable[Event]) -> None:
        """Count the attempts that ended in these events, and the durations of their links."""
        ended = {(event.task_id, event.attempt): event for event in batch if _is_end(event)}
        for event in ended.values():
            self._attempts.labels("RETRIED" if event.to_state == TaskState.PENDING else event.to_state).inc()
        for link in links.of_tasks(c, sorted({str(task_id) for task_id, _ in ended})):
            if (link.task_id, link.attempt) in ended:
                for step, ms in (link.timings or {}).items():
                    self._steps.labels(step).observe(ms / 1000)


def _is_end(event: Event) -> bool:
    """Tell whether an attempt ended: with its task, or by going back to PENDING for a retry (not for a repair)."""
    if event.kind != "task" or event.to_state is None:
        return False
    retried = (event.from_state, event.to_state) == (TaskState.RUNNING, TaskState.PENDING)
    return retried or TaskState(event.to_state).ended
