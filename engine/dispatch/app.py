"""Celery's app, each setting with its reason. Tried under faults before it was written (docs/decisions.rst)."""

from __future__ import annotations

import socket
from typing import Any

from celery import Celery

from engine.settings import BrokerSettings

#: Redis serves a lower broker priority first; a task's 9 is its highest (Tork), so broker = 9 - task's.
PRIORITY_STEPS = list(range(10))
RUN_LINK = "ferryman.run_link"

#: A peer that is silent for 10 s, its packets lost without a word, is gone; the kernel's own answer takes 15 min.
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 2,
    socket.TCP_USER_TIMEOUT: 10_000,
}


def broker_priority(task_priority: int) -> int:
    """Return the broker's priority for a task's. Links of a started chain have 0 and go before all new tasks."""
    return 9 - task_priority


def build_app(settings: BrokerSettings) -> Celery:
    """Return the app that `celery -A engine` finds. Opens no connection."""
    app = Celery("ferryman", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        # A worker with no -Q serves this queue and its own.
        task_default_queue=settings.default_queue,
        # The worker's room is loaded by name: neither the API nor a reconciler ever imports Docker.
        imports=["engine.worker.bootstrap"],
        # Containers are waited for, not computed.
        worker_pool="threads",
        # A message is gone when its link has ended, as people expect of acks-late; the claim drops copies.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,
        # The rows hold the results; a backend would only be asked and lost.
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_send_sent_event=False,
        # Off until somebody listens: Flower and `celery control enable_events` turn them on, and they cost a
        # fifth of a busy worker's time. The rows have their own events.
        worker_send_task_events=False,
        # Our Consumer and Request survive a broker that dies while links run (engine/worker/intake/consumer.py).
        worker_consumer="engine.worker.intake.consumer:ReconnectingConsumer",
        broker_channel_error_retry=True,
        broker_connection_retry_on_startup=True,
        # None: for ever. A finite number ends the worker.
        broker_connection_max_retries=None,
        # Celery's own default would cancel long tasks at each reconnect in a later release: it must not.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={
            "global_keyprefix": settings.broker_prefix,
            # 24 h: the reconciler, not the broker, brings work back; a late copy is dropped by the claim.
            "visibility_timeout": 86400,
            "priority_steps": PRIORITY_STEPS,
            "queue_order_strategy": "engine.dispatch.queue_order:OwnQueueFirst",
            "socket_keepalive": True,
            "socket_keepalive_options": _KEEPALIVE,
            # A BRPOP is waited for by the hub, not by these: they bound acks, the next link, a new connection.
            "socket_timeout": 10.0,
            "socket_connect_timeout": 2.0,
        },
        task_queue_max_priority=None,
        worker_hijack_root_logger=False,
        # Celery's own lines say each task twice; ours carry the names.
        worker_redirect_stdouts=False,
    )
    return app


def move(app: Celery, url: str) -> None:
    """Let new connections of the app go to this URL: its stand-alone started again at another address."""
    app.conf.broker_url = url
    pool = app._pool
    # The app makes both anew when they are asked for.
    app._pool = app.amqp._producer_pool = None
    if pool is not None:
        pool.force_close_all()


def publisher_options(settings: BrokerSettings) -> dict[str, Any]:
    """Transport options of a connection that publishes: bounded, no retry inside (the flusher retries)."""
    return {
        "global_keyprefix": settings.broker_prefix,
        "visibility_timeout": 86400,
        "priority_steps": PRIORITY_STEPS,
        "socket_timeout": 3.0,
        "socket_connect_timeout": 1.0,
        "max_retries": 0,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    }
