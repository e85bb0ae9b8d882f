"""Shortcut for kombu's Redis channel: one client per connection pool."""

from __future__ import annotations

from typing import Any


def keep_client(channel: Any) -> None:
    """Let a Redis channel keep its client: kombu makes a new one for each exchange, most of an exchange's time.

    A client is nothing but redis-py's table of answers beside the channel's pool, so one serves as long as the
    pool does; a channel that lost its connections has another pool, and then makes another client.
    """
    make, kept = channel._create_client, None

    def client(asynchronous: bool = False) -> Any:
        nonlocal kept
        if asynchronous:
            return make(asynchronous=True)
        if kept is None or kept.connection_pool is not channel.pool:
            kept = make()
        return kept

    channel._create_client = client
