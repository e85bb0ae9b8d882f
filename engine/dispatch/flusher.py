"""Flusher: publishes due tasks, then marks them SCHEDULED where they are still PENDING.

One thread per process, which holds no transaction while it publishes: a doubled message does no harm, but a task
that is marked and was never sent would wait for the reconciler.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import KombuError, OperationalError
from kombu.messaging import Producer
from redis import RedisError

from engine import failpoints
from engine.dispatch import wakeup
from engine.dispatch.app import RUN_LINK, build_app, publisher_options
from engine.dispatch.chain import ChainMessage, Route, message, new_route
from engine.dispatch.kombu_redis import keep_client
from engine.errors import BrokerUnavailable, FerrymanError, SettingsError, StoreUnavailable
from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.settings import BrokerSettings
from engine.store import events, outbox
from engine.store.database import Database
from engine.wording.links import link_title

log = logging.getLogger("ferryman.flush")

#: The author of the events that say that a message was sent.
_CALLER = Caller("flusher", socket.gethostname())

#: Tasks of other processes are sent when they have been due for this time …
OTHERS_SECONDS = 1.0
#: … and the reconciler reported them (engine/reconcile/lanes.py); without a report, the pause between two looks.
_UNASKED_SECONDS = 30.0
_LONGEST_BACKOFF_SECONDS = 2.0
#: Pause after a flush: tasks submitted meanwhile go in one exchange. The first of a burst never waits.
_REST_SECONDS = 0.01
#: Rows published in one exchange with the broker, then marked in one transaction.
_AT_ONCE = 100
#: Ids per query: both databases bound a statement's parameters.
_MOST_IDS = 5000


def link_titles(task: Task) -> list[str]:
    """Return the titles of the task's links, in order."""
    return [link_title(link.kind, link.name, index) for index, link in enumerate(task.plan)]


class Publisher:
    """Connection that sends chains, for one thread at a time; each call ends within about 4 s."""

    def __init__(self, settings: BrokerSettings, app: Celery | None = None) -> None:
        self.app = app or build_app(settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._declared: set[str] = set()

    def send(self, task: Task, route: Route, first: int = 0) -> None:
        """Publish the chain from link `first` on. Raises BrokerUnavailable; the message may be sent then."""
        with self._producing() as producer:
            self._publish(producer, message(self.app, task, route, first))

    def send_all(self, routes: Sequence[tuple[Task, Route]]) -> None:
        """Publish whole chains in one exchange with the broker: most of the time to send is that wait.

        Raises BrokerUnavailable; each message may or may not be sent then.
        """
        with self._producing() as producer, producer.batch(max_size=len(routes)):
            for task, route in routes:
                self._publish(producer, message(self.app, task, route))

    def _publish(self, producer: Producer, chain_message: ChainMessage) -> None:
        # Declared once per connection: kombu knows too, but copies the queue each time to find out.
        declare = () if chain_message.queue in self._declared else None
        self.app.amqp.send_task_message(
            producer,
            RUN_LINK,
            chain_message.content,
            queue=chain_message.queue,
            priority=chain_message.priority,
            declare=declare,
            retry=False,
        )
        self._declared.add(chain_message.queue)

    @contextlib.contextmanager
    def _producing(self) -> Iterator[Producer]:
        with self._lock:
            try:
                yield self._ready()
            except (OSError, KombuError, OperationalError, RedisError, SettingsError) as exc:
                self._drop()
                raise BrokerUnavailable(f"cannot publish: {exc}") from exc

    def _ready(self) -> Producer:
        if self._producer is None:
            self._connection = Connection(
                self._settings.current_url(),
                transport_options=publisher_options(self._settings),
                connect_timeout=1.0,
            )
            # default_channel heeds these options; channel() would try twice, 2 s apart, whatever they say.
            channel = self._connection.default_channel
            if self._connection.transport.driver_type == "redis":
                keep_client(channel)
            self._producer = self.app.amqp.Producer(channel, auto_declare=False)
        return self._producer

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        self._declared.clear()
        if connection is None:
            return
        try:
            connection.close()
        except Exception as exc:  # noqa: BLE001 - kombu's clean-up of a dead channel raises anything
            log.debug("closing the lost connection: %r", exc)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()


class Flusher:
    """Thread that sends due tasks: this process's at once, those of other processes after a second."""

    def __init__(self, db: Database, settings: BrokerSettings, app: Celery | None = None) -> None:
        self._db = db
        self._batch = settings.flush_batch
        self.publisher = Publisher(settings, app)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
        self._backoff = 0.0
        self._failed = float("-inf")

    def start(self) -> Flusher:
        """Start the thread; return the flusher."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread within a few seconds; unsent tasks stay PENDING."""
        self._stop.set()
        wakeup.report_overdue()
        self._thread.join(timeout=5)
        self.publisher.close()

    def _run(self) -> None:
        # Processes that started together must not look for each other's tasks at the same moment.
        pace = OTHERS_SECONDS * random.uniform(0.8, 1.2)
        looked = time.monotonic()
        while not self._stop.is_set():
            try:
                knew = wakeup.is_overdue_reported()
                mine = wakeup.wait(max(0.05, looked + self._pause(pace) - time.monotonic()), knew=knew)
                if mine:
                    self.flush(mine)
                    self._stop.wait(_REST_SECONDS)
                if time.monotonic() - looked >= self._pause(pace):
                    looked = time.monotonic()
                    wakeup.clear_overdue()
                    self.flush()
                self._backoff = 0.0
            except (BrokerUnavailable, StoreUnavailable) as exc:
                self._backoff = min(_LONGEST_BACKOFF_SECONDS, max(0.25, self._backoff * 2))
                log.warning("cannot send, next try in %.2g s: %s", self._backoff, exc)
                self._stop.wait(self._backoff)
                self._failed = time.monotonic()
            except FerrymanError as exc:
                log.error("%s", exc)
            except Exception:
                # A defect in one row must not end the thread that sends all the others.
                log.exception("flush")
                self._stop.wait(1.0)
                self._failed = time.monotonic()

    def _pause(self, pace: float) -> float:
        """Return the seconds between two looks for tasks of other processes, or that could not be sent."""
        # A task that could not be sent is found among the rows, like those of other processes.
        is_called = wakeup.is_overdue_reported() or time.monotonic() - self._failed < 3 * OTHERS_SECONDS
        return pace if is_called else _UNASKED_SECONDS

    def flush(self, task_ids: Sequence[str] | None = None) -> int:
        """Send those of these tasks that are due, or all that have been due for a second; return how many.

        Raises BrokerUnavailable and StoreUnavailable; the tasks stay PENDING then.
        """
        sent = 0
        for due in self._due(task_ids):
            if self._stop.is_set():
                break
            failpoints.hit("flush.read")
            for start in range(0, len(due), _AT_ONCE):
                group = due[start : start + _AT_ONCE]
                marked = self._send(group)
                sent += len(group)
                if task_ids is None and marked * 2 < len(group):
                    # Their own process sends them: two processes in step would double all messages.
                    return sent
        return sent

    def _due(self, task_ids: Sequence[str] | None) -> Iterator[list[Task]]:
        """Yield the due tasks in their order, in batches, each read when its turn comes."""
        if task_ids is None:
            full = True
            while full:
                with self._db.read() as c:
                    due = outbox.due(c, self._batch, round(OTHERS_SECONDS * 1000))
                full = len(due) == self._batch
                yield due
            return
        for start in range(0, len(task_ids), _MOST_IDS):
            ids = list(task_ids[start : start + _MOST_IDS])
            if len(ids) > self._batch:
                with self._db.read() as c:
                    ids = outbox.in_order(c, ids)
            for turn in range(0, len(ids), self._batch):
                with self._db.read() as c:
                    due = outbox.of_ids(c, ids[turn : turn + self._batch])
                yield due

    def _send(self, group: Sequence[Task]) -> int:
        """Publish the tasks, then mark those that are still PENDING; return how many."""
        routes = [(task, new_route(task, link_titles(task))) for task in group]
        if len(routes) == 1:
            self.publisher.send(*routes[0])
        else:
            self.publisher.send_all(routes)
        failpoints.hit("flush.published")
        marked = self._mark(group)
        failpoints.hit("flush.marked")
        return marked

    def _mark(self, sent: Sequence[Task]) -> int:
        with self._db.begin() as c:
            marked = outbox.mark_sent(c, sent)
            events.add_all(
                c, _CALLER, "task", marked, from_state=TaskState.PENDING, to_state=TaskState.SCHEDULED
            )
        return len(marked)
