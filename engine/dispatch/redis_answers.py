"""Meaning of Redis's answers: an error that an operator must act on, and a policy that removes messages.

Without Celery, so that the command line and the supervisor load it quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from engine.errors import BrokerRefused, BrokerUnavailable


def error_class(exc: Exception) -> type[BrokerUnavailable]:
    """Return the error for the client's: BrokerRefused for a password, user or database that is refused."""
    is_refused = isinstance(exc, redis.AuthenticationError | redis.exceptions.NoPermissionError)
    # Redis has no error of its own for the number of a database.
    return BrokerRefused if is_refused or "DB index" in str(exc) else BrokerUnavailable


def eviction(memory: Mapping[str, Any]) -> str:
    """Return why a broker with this INFO about its memory removes messages, with the remedy, "" when it removes none.

    The policies `volatile-*` remove only keys that expire, and Ferryman's do not.
    """
    policy = str(memory.get("maxmemory_policy", ""))
    if not policy.startswith("allkeys") or not int(memory.get("maxmemory", 0)):
        return ""
    return f"it removes messages when its memory is full (maxmemory-policy {policy}): set noeviction"
