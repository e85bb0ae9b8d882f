"""State of the broker: its installation, whether it was emptied, the depth of its queues."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import redis

from engine.dispatch.app import PRIORITY_STEPS
from engine.dispatch.redis_answers import error_class, eviction
from engine.errors import BrokerUnavailable, SettingsError, WrongInstallation
from engine.settings import BrokerSettings, without_password

#: kombu joins queue and priority by this (kombu.transport.redis.Channel.sep).
_SEPARATOR = "\x06\x16"
#: Key with the id of the broker's installation; when it is missing, the broker was emptied.
_MARKER = "installation"


class Broker:
    """Connection to Redis beside Celery's: every call ends within 3 s or raises BrokerUnavailable.

    After each failure the address is read again: a stand-alone may have started again at another one.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._prefix = settings.broker_prefix
        self._exchange = settings.default_queue
        self._url = settings.broker_url
        self._redis = _client(self._url)

    @property
    def url(self) -> str:
        """URL without its password, for people."""
        return without_password(self._url)

    def claim_for(self, installation: str) -> bool:
        """Write the installation's id where none is; return True if this call wrote it (a new or emptied broker).

        Raises WrongInstallation when the broker serves another one.
        """
        with self._bounded():
            wrote = bool(self._redis.set(self._prefix + _MARKER, installation, nx=True))
            found = self._redis.get(self._prefix + _MARKER)
        if found is not None and found != installation:
            raise WrongInstallation(str(found), installation)
        return wrote

    def ping(self) -> None:
        """Return when the broker has answered. Raises BrokerUnavailable."""
        with self._bounded():
            self._redis.ping()

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue, at all priorities."""
        with self._bounded(), self._redis.pipeline(transaction=False) as pipe:
            for key in self._keys(queue):
                pipe.llen(key)
            return sum(int(n) for n in pipe.execute())

    def eviction(self) -> str:
        """Return why this broker removes messages, with the remedy, "" when it removes none."""
        with self._bounded():
            return eviction(self._redis.info("memory"))

    def drop(self, queue: str) -> None:
        """Remove a dead node's queue with what waits in it (the rows send it again) and its binding."""
        binding = _SEPARATOR.join([queue, "", queue])
        with self._bounded(), self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(*self._keys(queue))
            # kombu keeps a set of bindings for each exchange; Celery's is named as the default queue.
            pipe.srem(f"{self._prefix}_kombu.binding.{self._exchange}", binding)
            pipe.execute()

    def _keys(self, queue: str) -> list[str]:
        return [f"{self._prefix}{queue}" + (f"{_SEPARATOR}{step}" if step else "") for step in PRIORITY_STEPS]

    def describe(self) -> str:
        """Kind, version and place, with the milliseconds that an answer takes."""
        with self._bounded():
            info = self._redis.info("server")
            persistence = self._redis.info("persistence")
        name = "valkey" if "valkey_version" in info else "redis"
        version = info.get("valkey_version") or info.get("redis_version")
        place = urlsplit(self.url)
        saved = "append-only file on" if persistence.get("aof_enabled") else "append-only file off"
        return f"{name} {version} at {place.hostname or place.path}:{place.port or 6379}, {saved}"

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as exc:
            message = f"{self.url}: {exc}"
            if self._follow():
                message += f"; the broker is at {self.url} now"
            # The client's words may repeat a URL.
            raise error_class(exc)(without_password(message)) from exc

    def _follow(self) -> bool:
        """Use the address that the broker has now; return whether that is another one."""
        try:
            url = self._settings.current_url()
        except SettingsError as exc:
            raise BrokerUnavailable(str(exc)) from exc
        if url == self._url:
            return False
        self.close()
        self._url, self._redis = url, _client(url)
        return True


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=3.0, socket_connect_timeout=1.0, decode_responses=True, health_check_interval=0
    )


def ping(settings: BrokerSettings) -> str:
    """Return the broker's kind, version and address. Raises BrokerUnavailable."""
    broker = Broker(settings)
    try:
        return broker.describe()
    finally:
        broker.close()
