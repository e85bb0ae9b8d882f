"""Celery's Consumer and Request, mended: a broker lost under work in hand ends nothing, and no slot is lost.

Tried with 201 faults before it was written (docs/decisions.rst): the plain consumer of Celery 5.7 died in 58 of
60 restarts of its Redis while it was busy. `Window` keeps prefetch at slots - adopted links - work whose message
came over a channel that is no more; at 0, and while the node is not LIVE, only its own queue is served.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from celery.worker.request import Request

from engine.dispatch.kombu_redis import keep_client
from engine.worker.context import get_context

log = logging.getLogger("ferryman.consumer")

#: Seconds that one BRPOP waits. On all queues it may be long: whatever comes ends it. On the node's own alone it
#: holds up what was submitted since a slot became free.
_WAIT_SECONDS = 3
_OWN_WAIT_SECONDS = 1


class SturdyConsumer(Consumer):
    """Survives a broker that dies while messages are in hand, and comes back within about a second."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Mingle costs a second at each reconnect and gossip tells nothing that the rows do not know; here, so
        # that the plain command line needs no flag.
        quick = {"without_mingle": True, "without_gossip": True}
        kwargs["worker_options"] = dict(kwargs.get("worker_options") or {}) | quick
        super().__init__(*args, **kwargs)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Clean up; kombu's own clean-up of a lost Redis connection raises, and would end the worker."""
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the connection is gone and made anew
            log.warning("clean-up of the lost connection: %r", trouble)
            self.connection = None

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying after 0.5, 0.75, 1, 1 … s; Celery's 2, 4 … 30 s come back up to 16 s late."""
        ensure = conn.ensure_connection

        def quickly(errback: Any, retries: Any, **kwargs: Any) -> Any:
            return ensure(
                errback,
                retries,
                **kwargs | {"interval_start": 0.5, "interval_step": 0.25, "interval_max": 1},
            )

        conn.ensure_connection = quickly
        return super().ensure_connected(conn)


class Window(bootsteps.StartStopStep):
    """How many messages may be in hand. All but `adopt`, `refresh` and `rename_own` is the hub's thread's."""

    requires = (Tasks,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        self.c = c
        self.context = get_context()
        self.context.window = self
        self.own = self.context.own_queue
        self.adopted = 0
        self.hand: set[Any] = set()
        self.size = -1
        self._busy = False
        # One raising callback makes the hub drop the rest: hence a list of our own.
        self._todo: collections.deque[tuple[Callable[..., Any], ...]] = collections.deque()
        self._missed: list[tuple[Any, ...]] = []
        self._to_pool = c.on_task_request
        c.on_task_request = self._take

    # Any thread.

    def adopt(self, by: int) -> None:
        """An adopted link begins (1) or ends (-1): it counts as a slot."""
        self._soon(self._count, by)

    def refresh(self) -> None:
        """The node became LIVE, or ceased to be: look again at what may be consumed."""
        self._soon(lambda: None)

    def rename_own(self, old: str, new: str) -> None:
        """The node has a new id: its queue follows."""
        self._soon(self._swap_own, old, new)

    def settle(self, request: Any, requeue: bool | None) -> None:
        """Acknowledge (None) or reject a message, in the hub's thread: only that one may."""
        self._soon(self._settle, request, requeue)

    def _soon(self, *job: Any) -> None:
        self._todo.append(job)
        self.c.call_soon(self._drain)

    # The hub's thread.

    def _count(self, by: int) -> None:
        self.adopted += by

    def _take(self, request: Any) -> Any:
        """A message came: a surplus goes back; of the own queue one is let in although none is free."""
        own = request.delivery_info.get("routing_key") == self.own
        if len(self.hand) + self.adopted >= self.c.pool.num_processes + own:
            state.task_ready(request)
            return request.reject(requeue=True)
        self.hand.add(request)
        self._fit()
        return self._to_pool(request)

    def _drain(self, start: bool = False) -> None:
        while self._todo and self.c.task_consumer:
            job, *args = self._todo.popleft()
            job(*args)
        self._fit(start)

    def start(self, c: Any) -> None:
        """At each connection, before the loop consumes."""
        consumer = c.task_consumer
        channel = consumer.channel
        self.redis = c.connection.transport.driver_type == "redis"
        # RabbitMQ 4 counts prefetch per consumer.
        self.each = not (c.qos_global or self.redis)
        if self.redis:
            can_consume = channel.qos.can_consume
            # A BRPOP under way must be read: kombu keeps what it popped in no list until then.
            channel.qos.can_consume = lambda: bool(channel._in_poll) or can_consume()
            drop_garbage(channel)
            keep_client(channel)

        def consume(no_ack: Any = None) -> None:
            # Before the node was ever LIVE its own queue is empty; a BRPOP on it alone, once sent, would keep
            # the first task waiting for the second that it blocks.
            closed = not self.size and not self.context.served
            wanted = {q: consumer.no_ack for q in consumer._queues if self.size or q == self.own}
            consumer._consume_queues({} if closed else wanted)

        consumer.consume = consume
        self._todo.extend(self._missed)
        self._missed.clear()
        self._drain(True)

    def free(self) -> int:
        """Messages that may be in hand now."""
        context = self.context
        if not context.live or context.leaving.is_set() or context.draining.is_set():
            return 0
        channel = self.c.task_consumer.channel
        gone = sum(self.each or request._message.channel is not channel for request in self.hand)
        return max(self.c.pool.num_processes - self.adopted - gone, 0)

    def _fit(self, start: bool = False) -> None:
        if self._busy:
            return  # a delivery inside a call below
        c, consumer = self.c, self.c.task_consumer
        self._busy = True
        try:
            while consumer and c.connection and (start or self.free() != self.size):
                self._resize(consumer, start)
                start = False
        except Exception as exc:  # noqa: BLE001 - a channel that broke; only the consumer starts anew
            self._broken(consumer, exc)
        finally:
            self._busy = False

    def _resize(self, consumer: Any, start: bool) -> None:
        c = self.c
        self.size = self.free()
        count = max(self.size, 1)  # 0 would mean no limit
        if self.redis:
            consumer.channel.brpop_timeout = _WAIT_SECONDS if self.size else _OWN_WAIT_SECONDS
        for name in [q for q in consumer._active_tags if self.each or (not self.size and q != self.own)]:
            consumer._active_queue_no_ack.pop(name, None)
            consumer.channel.basic_cancel(consumer._active_tags.pop(name))
        consumer.qos(prefetch_count=count, apply_global=c.qos_global)
        c.qos.value = c.qos.prev = c.initial_prefetch_count = count
        if not start:
            consumer.consume()

    def _swap_own(self, old: str, new: str) -> None:
        self.own = new
        self.c.app.amqp.queues.select_add(new)
        self.c.add_task_queue(new)
        self.c.cancel_task_queue(old)

    def _broken(self, consumer: Any, exc: Exception) -> None:
        log.warning("the broker's channel: %r", exc)
        self.c.call_soon(self._check, consumer)

    def _check(self, consumer: Any) -> None:
        if consumer is self.c.task_consumer:
            raise ConnectionError("the broker was lost in a callback")

    def _settle(self, request: Any, requeue: bool | None) -> None:
        message, consumer = request._message, self.c.task_consumer
        self.hand.discard(request)
        try:
            if message.channel is consumer.channel:
                if requeue is None:
                    message.ack()
                else:
                    message.reject(requeue=requeue)
            elif self.redis and not requeue:
                # Its channel is gone, its tag in Redis is not: take it out of `unacked` over the new one.
                consumer.channel.qos._remove_from_indices(message.delivery_tag).execute()
        except Exception as exc:  # noqa: BLE001 - kombu raises anything on a closed channel; it is tried again
            if self.redis:
                self._missed.append((self._settle, request, requeue))
            self._broken(consumer, exc)


def drop_garbage(channel: Any) -> None:
    """Let what is no message of Celery's in a Redis list be said and dropped; kombu would end the worker.

    The rows lose nothing: if a task's message was spoilt, it is sent again when it is overdue.
    """
    read = channel.handlers["BRPOP"]

    def read_sturdily(**options: Any) -> Any:
        known = set(channel.qos._delivered)
        try:
            return read(**options)
        # What parsing raises; a lost connection is none of these.
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
            log.error("a message that cannot be read is dropped: %r", exc)
            # One that was counted already must not keep a slot for ever.
            for tag in set(channel.qos._delivered) - known:
                channel.basic_reject(tag, requeue=False)
            return None

    channel.handlers["BRPOP"] = read_sturdily


class LateRequest(Request):
    """A request whose late acknowledgement never throws: the window settles it in the hub's thread."""

    acknowledged: bool

    def acknowledge(self) -> None:
        """Acknowledge, once."""
        self._settle_once(None)

    def reject(self, requeue: bool = False) -> None:
        """Reject, once."""
        self._settle_once(requeue)

    def _settle_once(self, requeue: bool | None) -> None:
        window = get_context().window
        if not self.acknowledged and window is not None:
            self.acknowledged = True
            window.settle(self, requeue)
