"""Celery's Consumer and Request, mended: no slot is lost, and a worker survives a broker lost under running work.

201 faults were tried first (docs/decisions.rst): the plain consumer of Celery 5.7 died in 58 of 60 restarts of its
Redis while it was busy. `Window` sets prefetch to slots - adopted links - running links whose message came over a
channel that is closed. At 0, and while the node is not LIVE, only the node's own queue is consumed.
"""

from __future__ import annotations

import collections
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from celery.worker.request import Request

from engine.dispatch.app import move
from engine.dispatch.kombu_redis import keep_client
from engine.errors import SettingsError
from engine.jobspec.text_rules import queue_fault
from engine.model.states import HoldKind
from engine.settings import without_password
from engine.worker.context import Intake, get_context

log = logging.getLogger("ferryman.consumer")

#: Seconds that one BRPOP blocks. On all queues a long wait does no harm: any message ends it. On the node's own queue
#: alone it delays tasks that were submitted after a slot became free.
_BRPOP_SECONDS = 3
_OWN_BRPOP_SECONDS = 1


class ReconnectingConsumer(Consumer):
    """Consumer that survives a broker that dies while links run, and reconnects within about a second."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Mingle costs a second at each reconnect, and gossip tells nothing that the rows do not have. Set here
        # because the plain command line should need no flags.
        quick = {"without_mingle": True, "without_gossip": True}
        kwargs["worker_options"] = dict(kwargs.get("worker_options") or {}) | quick
        super().__init__(*args, **kwargs)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Clean up; kombu's own clean-up of a lost Redis connection raises, and would end the worker."""
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is lost and will be made again
            log.warning("the clean-up of the lost broker connection failed, reconnecting: %r", error)
            self.connection = None

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying after 0.5, 0.75, 1, 1 … s; Celery's 2, 4 … 30 s reconnect up to 16 s late.

        Each failure reads the broker's address again: a stand-alone may have started again at another one.
        """
        ensure = conn.ensure_connection
        intervals = {"interval_start": 0.5, "interval_step": 0.25, "interval_max": 1}

        began, patience = time.monotonic(), get_context().installation.settings.patience_seconds

        def connect(errback: Any, retries: Any, **options: Any) -> Any:
            def report(exc: BaseException, interval: float) -> None:
                errback(exc, interval)
                if time.monotonic() - began >= patience and not get_context().is_watched:
                    log.critical("no broker since the start: this process leaves with %d", os.EX_TEMPFAIL)
                    os._exit(os.EX_TEMPFAIL)
                self._follow(conn)

            return ensure(report, retries, **options | intervals)

        self._follow(conn)
        conn.ensure_connection = connect
        return super().ensure_connected(conn)

    def add_task_queue(self, queue: str, *args: Any, **options: Any) -> None:
        """Consume a queue from now on (`celery control add_consumer`), and let the node's row say so."""
        if not queue.startswith("!") and (fault := queue_fault(queue)):
            log.warning("no consumer is added: %s", fault)
            return
        super().add_task_queue(queue, *args, **options)
        self._report_queues()

    def cancel_task_queue(self, queue: str) -> None:
        """Consume a queue no more (`celery control cancel_consumer`), and let the node's row say so."""
        super().cancel_task_queue(queue)
        self._report_queues()

    def _report_queues(self) -> None:
        consumed = self.app.amqp.queues.consume_from
        get_context().queues = tuple(sorted(name for name in consumed if not name.startswith("!")))

    def _follow(self, conn: Any) -> None:
        settings = get_context().installation.settings.broker
        try:
            url = settings.current_url()
        except SettingsError as exc:
            log.warning("%s", exc)
            return
        if url != self.app.conf.broker_url:
            log.warning("the broker is at %s now", without_password(url))
            move(self.app, url)
            conn.switch(url)


class Window(Intake, bootsteps.StartStopStep):
    """Limit on the messages in this process. Other threads call Intake's methods; the rest is the hub thread's."""

    requires = (Tasks,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        self.c = c
        self.context = get_context()
        self.context.intake = self
        self.own_queue = self.context.own_queue
        self.requests: set[Any] = set()
        self.size = -1
        self._resizing = False
        # A list of our own: one callback that raises makes the hub drop all callbacks after it.
        self._calls: collections.deque[tuple[Callable[..., Any], ...]] = collections.deque()
        self._unsettled: list[tuple[Any, ...]] = []
        self._send_to_pool = c.on_task_request
        c.on_task_request = self._receive

    # Intake, called by any thread; only the hub's thread may use the channel.

    def count_adopted(self, by: int) -> None:
        self._call_in_hub(self._count_adopted, by)

    def refresh(self) -> None:
        self._call_in_hub(lambda: None)

    def rename_own_queue(self, old: str, new: str) -> None:
        self._call_in_hub(self._rename_own_queue, old, new)

    def settle(self, request: Any, requeue: bool | None) -> None:
        self._call_in_hub(self._settle, request, requeue)

    def _call_in_hub(self, *call: Any) -> None:
        self._calls.append(call)
        self.c.call_soon(self._make_calls)

    # Called by the hub's thread.

    def _count_adopted(self, by: int) -> None:
        self.adopted += by

    def _receive(self, request: Any) -> Any:
        """Pass a message to the pool, or requeue it when no slot is free; the own queue may exceed by one."""
        is_own = request.delivery_info.get("routing_key") == self.own_queue
        if len(self.requests) + self.adopted >= self.c.pool.num_processes + is_own:
            state.task_ready(request)
            return request.reject(requeue=True)
        self.requests.add(request)
        self._adjust()
        return self._send_to_pool(request)

    def _make_calls(self, is_new: bool = False) -> None:
        while self._calls and self.c.task_consumer:
            function, *args = self._calls.popleft()
            function(*args)
        self._adjust(is_new)

    def start(self, c: Any) -> None:
        """Prepare the consumer of a new connection, before it consumes."""
        consumer = c.task_consumer
        channel = consumer.channel
        self.heard_at = time.monotonic()
        self.context.holds.release(HoldKind.BROKER)
        self.is_redis = c.connection.transport.driver_type == "redis"
        # RabbitMQ 4 counts prefetch for each consumer, not for the channel.
        self.counts_each_consumer = not (c.qos_global or self.is_redis)
        if self.is_redis:
            can_consume = channel.qos.can_consume
            # The answer to a BRPOP that was sent must be read: kombu has what it popped in no list until then.
            channel.qos.can_consume = lambda: bool(channel._in_poll) or can_consume()
            drop_unreadable(channel)
            keep_client(channel)

        def consume(no_ack: Any = None) -> None:
            # Before the node was first LIVE its own queue is empty; a BRPOP on that queue alone, once sent, would
            # delay the first task by the second that it blocks.
            is_closed = not self.size and not self.context.served
            queues = {q: consumer.no_ack for q in consumer._queues if self.size or q == self.own_queue}
            consumer._consume_queues({} if is_closed else queues)

        consumer.consume = consume
        self._calls.extend(self._unsettled)
        self._unsettled.clear()
        self._make_calls(is_new=True)

    def capacity(self) -> int:
        """Return how many messages may be in this process now."""
        context = self.context
        if not context.may_claim:
            return 0
        slots: int = self.c.pool.num_processes
        channel = self.c.task_consumer.channel
        uncounted = sum(self.counts_each_consumer or r._message.channel is not channel for r in self.requests)
        return max(slots - self.adopted - uncounted, 0)

    def _adjust(self, is_new: bool = False) -> None:
        if self._resizing:
            return  # a message arrived within a call below
        c, consumer = self.c, self.c.task_consumer
        self._resizing = True
        try:
            while consumer and c.connection and (is_new or self.capacity() != self.size):
                self._resize(consumer, is_new)
                is_new = False
        except Exception as exc:  # noqa: BLE001 - the channel is broken: only the consumer is restarted
            self._reconnect(consumer, exc)
        finally:
            self._resizing = False

    def _resize(self, consumer: Any, is_new: bool) -> None:
        c = self.c
        self.size = self.capacity()
        count = max(self.size, 1)  # 0 would mean no limit
        if self.is_redis:
            consumer.channel.brpop_timeout = _BRPOP_SECONDS if self.size else _OWN_BRPOP_SECONDS
        for name in list(consumer._active_tags):
            if self.counts_each_consumer or (not self.size and name != self.own_queue):
                consumer._active_queue_no_ack.pop(name, None)
                consumer.channel.basic_cancel(consumer._active_tags.pop(name))
        consumer.qos(prefetch_count=count, apply_global=c.qos_global)
        c.qos.value = c.qos.prev = c.initial_prefetch_count = count
        if not is_new:
            consumer.consume()

    def _rename_own_queue(self, old: str, new: str) -> None:
        self.own_queue = new
        self.c.app.amqp.queues.select_add(new)
        self.c.add_task_queue(new)
        self.c.cancel_task_queue(old)

    def _reconnect(self, consumer: Any, exc: Exception) -> None:
        log.warning("the broker's channel failed, reconnecting: %r", exc)
        self.c.call_soon(self._fail_if_current, consumer)

    def _fail_if_current(self, consumer: Any) -> None:
        if consumer is self.c.task_consumer:
            raise ConnectionError("the broker's channel failed in a callback")

    def _settle(self, request: Any, requeue: bool | None) -> None:
        message, consumer = request._message, self.c.task_consumer
        self.requests.discard(request)
        try:
            if message.channel is consumer.channel:
                if requeue is None:
                    message.ack()
                else:
                    message.reject(requeue=requeue)
            elif self.is_redis and not requeue:
                # The channel is closed but its tag is still in Redis: take it out of `unacked` over the new one.
                consumer.channel.qos._remove_from_indices(message.delivery_tag).execute()
        except Exception as exc:  # noqa: BLE001 - kombu raises anything on a closed channel; settled after reconnect
            if self.is_redis:
                self._unsettled.append((self._settle, request, requeue))
            self._reconnect(consumer, exc)


def drop_unreadable(channel: Any) -> None:
    """Log and drop list entries that are not Celery messages; kombu would crash the worker.

    No task is lost: a task whose message was spoilt is sent again when it is overdue.
    """
    read = channel.handlers["BRPOP"]

    def read_or_drop(**options: Any) -> Any:
        known_tags = set(channel.qos._delivered)
        get_context().intake.heard_at = time.monotonic()
        try:
            return read(**options)
        # Raised by parsing; a lost connection raises none of these.
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
            log.error("dropped a queue's entry that is not a Celery message: %r", exc)
            # An entry that kombu has counted would occupy a slot for ever.
            for tag in set(channel.qos._delivered) - known_tags:
                channel.basic_reject(tag, requeue=False)
            return None

    channel.handlers["BRPOP"] = read_or_drop


class LateRequest(Request):
    """Request whose late acknowledgement never raises: the window settles it in the hub's thread."""

    acknowledged: bool

    def acknowledge(self) -> None:
        """Acknowledge, once."""
        self._settle_once(None)

    def reject(self, requeue: bool = False) -> None:
        """Reject, once."""
        self._settle_once(requeue)

    def _settle_once(self, requeue: bool | None) -> None:
        if not self.acknowledged:
            self.acknowledged = True
            get_context().intake.settle(self, requeue)
