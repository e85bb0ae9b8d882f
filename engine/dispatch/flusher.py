"""flush: take due rows, publish, then mark them SCHEDULED where they are still PENDING.

One thread a process. It holds no transaction while it publishes: a copy does no harm, a row that is marked
but was never sent would wait for the reconciler.
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
from engine.dispatch.chain import Message, Way, first_way, message
from engine.dispatch.kombu_redis import keep_client
from engine.errors import BrokerUnavailable, FerrymanError, StoreUnavailable
from engine.jobspec import stored
from engine.model.records import Caller, Task
from engine.model.states import TaskState
from engine.settings import BrokerSettings
from engine.store import events, outbox
from engine.store.database import Database
from engine.wording.links import link_title

log = logging.getLogger("ferryman.flush")

#: The author of the events that say that a message was sent.
_CALLER = Caller("flusher", socket.gethostname())

#: Rows of other processes are looked for when they have been due for this long …
OTHERS_SECONDS = 1.0
#: … and somebody noticed them (engine/reconcile/loop.py); unasked, so often.
_UNASKED_SECONDS = 30.0
_LONGEST_BACKOFF_SECONDS = 2.0
#: After a flush: what is submitted meanwhile goes in one exchange. The first of a burst never waits.
_REST_SECONDS = 0.01
#: Rows published in one exchange with the broker, then marked in one transaction.
_AT_ONCE = 100
#: Ids in one question: both databases bound a statement's parameters.
_MOST_IDS = 5000


def link_names(task: Task) -> list[str]:
    """Return the titles of the task's links, in order."""
    return [link_title(kind, link.name, i) for i, (kind, link) in enumerate(stored.load(task.spec).links)]


class Publisher:
    """A bounded connection that sends chains. Used by one thread at a time; each call ends within ~4 s."""

    def __init__(self, settings: BrokerSettings, app: Celery | None = None) -> None:
        self.app = app or build_app(settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._declared: set[str] = set()

    def send(self, task: Task, way: Way, first: int = 0) -> None:
        """Publish the chain from link `first` on. Raises BrokerUnavailable; then it may or may not be there."""
        with self._producing() as producer:
            self._publish(producer, message(self.app, task, way, first))

    def send_all(self, ways: Sequence[tuple[Task, Way]]) -> None:
        """Publish whole chains, all in one exchange with the broker: most of a sending's time is that wait.

        Raises BrokerUnavailable; then each may or may not be there.
        """
        with self._producing() as producer, producer.batch(max_size=len(ways)):
            for task, way in ways:
                self._publish(producer, message(self.app, task, way))

    def _publish(self, producer: Producer, what: Message) -> None:
        # Declared once a connection: kombu knows that too, but copies the queue each time to find out.
        declare = () if what.queue in self._declared else None
        self.app.amqp.send_task_message(
            producer,
            RUN_LINK,
            what.made,
            queue=what.queue,
            priority=what.priority,
            declare=declare,
            retry=False,
        )
        self._declared.add(what.queue)

    @contextlib.contextmanager
    def _producing(self) -> Iterator[Producer]:
        with self._lock:
            try:
                yield self._ready()
            except (OSError, KombuError, OperationalError, RedisError) as exc:
                self._drop()
                raise BrokerUnavailable(f"publishing failed: {exc}") from exc

    def _ready(self) -> Producer:
        if self._producer is None:
            self._connection = Connection(
                self._settings.broker_url,
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
    """The thread that sends what is due: at once what this process committed, after a second what others did."""

    def __init__(self, db: Database, settings: BrokerSettings, app: Celery | None = None) -> None:
        self._db = db
        self._batch = settings.flush_batch
        self.publisher = Publisher(settings, app)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
        self._backoff = 0.0
        self._failed = float("-inf")

    def start(self) -> Flusher:
        """Begin; returns itself."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End within a few seconds; what was not sent stays PENDING."""
        self._stop.set()
        wakeup.notice()
        self._thread.join(timeout=5)
        self.publisher.close()

    def _run(self) -> None:
        # Processes that began together must not look for each other's rows at the same moment.
        pace = OTHERS_SECONDS * random.uniform(0.8, 1.2)
        looked = time.monotonic()
        while not self._stop.is_set():
            try:
                knew = wakeup.noticed()
                mine = wakeup.wait(max(0.05, looked + self._pause(pace) - time.monotonic()), knew=knew)
                if mine:
                    self.flush(mine)
                    self._stop.wait(_REST_SECONDS)
                if time.monotonic() - looked >= self._pause(pace):
                    looked = time.monotonic()
                    wakeup.forget()
                    self.flush()
                self._backoff = 0.0
            except (BrokerUnavailable, StoreUnavailable) as exc:
                self._backoff = min(_LONGEST_BACKOFF_SECONDS, max(0.25, self._backoff * 2))
                log.warning("nothing is sent for %.2g s: %s", self._backoff, exc)
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
        """Seconds between two looks for rows that were not poked here, or whose sending failed."""
        # What failed is found among the rows, once it has been due for as long as that of others.
        is_called = wakeup.noticed() or time.monotonic() - self._failed < 3 * OTHERS_SECONDS
        return pace if is_called else _UNASKED_SECONDS

    def flush(self, task_ids: Sequence[str] | None = None) -> int:
        """Send the due rows among these, or all that have been due for a second; says how many were sent.

        Raises BrokerUnavailable and StoreUnavailable; the rows stay PENDING then.
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
                    # Their own process is at it: two that send the same rows in step would double them all.
                    return sent
        return sent

    def _due(self, task_ids: Sequence[str] | None) -> Iterator[list[Task]]:
        """The rows in the order in which they are sent, a batch at a time, each read when its turn comes."""
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
        """Publish them, then mark those that are still PENDING; how many those were."""
        ways = [(task, first_way(task, link_names(task))) for task in group]
        if len(ways) == 1:
            self.publisher.send(*ways[0])
        else:
            self.publisher.send_all(ways)
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
